"""Who sees which object: disjoint sets of objects, cut between groups and never through one."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.errors import GeotrapError, UsageError

TARGET_SHARES = {"defense_target": 0.4, "attack_target": 0.3, "eval_target": 0.3}
ATTACK_SHARES = {"attack_target": 0.5, "eval_target": 0.5}
"""Shares of target objects that the defender does not have."""
SOURCE_EVAL_SHARE = 0.2
VALIDATION = "source_validation"


@dataclass(frozen=True)
class Splits:
    """Object ids by use, each sorted. No group has objects in two of them.

    Args:
        defense_target: target objects the defender traps.
        attack_target: target objects the attacker fine-tunes on.
        eval_target: target objects on which recovery is measured; nobody trains on them.
        source_train: what the model must keep, for distillation.
        source_eval: what the model must keep, for measurement.
        benign: what an honest user fine-tunes towards.
        source_validation: source objects to choose settings by; nobody trains on them.
    """

    defense_target: tuple[str, ...]
    attack_target: tuple[str, ...]
    eval_target: tuple[str, ...]
    source_train: tuple[str, ...]
    source_eval: tuple[str, ...]
    benign: tuple[str, ...]
    source_validation: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """The sets by name, for a manifest; without ``source_validation`` where nothing is set aside."""
        sets = {name: list(ids) for name, ids in asdict(self).items()}
        # So that what was begun before there was such a set is still told to be the same.
        return sets if self.source_validation else {name: ids for name, ids in sets.items() if name != VALIDATION}

    def check_disjoint_groups(self, records: Iterable[ObjectRecord]) -> None:
        """Check that no group, and so no object, is in two sets.

        Raises:
            GeotrapError: names the group and the sets, or an id that no record has.
        """
        groups = {record.id: record.group for record in records}
        owner: dict[str, str] = {}
        for name, ids in self.as_dict().items():
            for id in ids:
                if id not in groups:
                    raise GeotrapError(f"{name}: object {id!r} is not in the data set")
                other = owner.setdefault(groups[id], name)
                if other != name:
                    raise GeotrapError(f"group {groups[id]!r} is in both {other} and {name}")


def split_objects(records: Sequence[ObjectRecord], target: Sequence[str], benign: Sequence[str], seed: int) -> Splits:
    """Split ``records`` by group.

    Target groups are dealt 40/30/30 % to defense, attack and evaluation in the order of a hash of (seed, group):
    inside each category that has three groups or more, so that each set knows each such category. Groups of smaller
    categories are pooled and dealt together with the same shares, a category's two groups to different sets.
    A source group is evaluated where its hash falls below 20 %: that does not change when objects are added.

    Args:
        records: the objects of the data set.
        target: categories to defend.
        benign: categories an honest user may want, possibly none.
        seed: another seed gives another split.

    Raises:
        UsageError: a category is unknown or both target and benign, a group reaches over the border of target, benign
            and source, or a set would be empty.
    """
    _check_categories(records, target, benign)
    parts = _groups_by_part(records, target, benign)
    if len(parts["target"]) < len(TARGET_SHARES):
        found = f"the data set has {len(parts['target'])} groups of them"
        what = f"data.target: {found}, and defense, attack and evaluation need one each"
        raise UsageError(what, hint="Name more target categories, or a data set with three groups of them")
    if len(parts["source"]) < 2:
        what = f"data.target and data.benign leave {len(parts['source'])} source groups, and two are needed"
        raise UsageError(what, hint="Name fewer target or benign categories, or a larger data set")
    owners = _deal_targets(parts["target"], seed, TARGET_SHARES) | _deal_source(parts["source"], seed)
    owners |= dict.fromkeys(parts["benign"], "benign")
    ids: dict[str, list[str]] = defaultdict(list)
    for record in records:
        ids[owners[record.group]].append(record.id)
    splits = Splits(**{name: tuple(sorted(ids[name])) for name in Splits.__dataclass_fields__})
    splits.check_disjoint_groups(records)
    return splits


def split_attack_objects(
    records: Sequence[ObjectRecord], target: Sequence[str], seed: int, taken: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Split the target objects of a data set that only the attacker has: half to attack with, half to be measured on.

    Groups are dealt as :func:`split_objects` deals target groups.

    Args:
        records: the objects of the attacker's data set.
        target: categories that the attacker wants.
        seed: another seed gives another split.
        taken: groups that the defender has, too; they are left out.

    Raises:
        UsageError: a category is unknown, or fewer than two groups are left.
    """
    check_known("attack.data.target", target, sorted({record.category for record in records}))
    wanted = [record for record in records if record.category in target and record.group not in taken]
    groups = {record.group: record.category for record in sorted(wanted, key=lambda record: record.id)}
    if len(groups) < len(ATTACK_SHARES):
        what = f"attack.data.target: the defender's objects left out, there are {len(groups)} groups of them"
        raise UsageError(what, hint="Attack and evaluation need one each: name more categories")
    owners = _deal_targets(groups, seed, ATTACK_SHARES)
    return {name: tuple(sorted(r.id for r in wanted if owners[r.group] == name)) for name in ATTACK_SHARES}


def _check_categories(records: Sequence[ObjectRecord], target: Sequence[str], benign: Sequence[str]) -> None:
    known = sorted({record.category for record in records})
    check_known("data.target", target, known)
    check_known("data.benign", benign, known)
    if not target:
        raise UsageError("data.target names no category", hint=f"Name some of: {', '.join(known)}")
    both = sorted(set(target) & set(benign))
    if both:
        raise UsageError(f"category {both[0]!r} is in both data.target and data.benign", hint="Name it once")


def check_known(key: str, categories: Sequence[str], known: Sequence[str]) -> None:
    """Check that the data set has all ``categories``, which the profile names under ``key``.

    Raises:
        UsageError: names every unknown category, with the closest known one or all of them.
    """
    unknown = [category for category in dict.fromkeys(categories) if category not in known]
    if not unknown:
        return
    # Imported here: only a misspelt name needs it.
    from rapidfuzz import process

    close = [found[0] for name in unknown if (found := process.extractOne(name, known, score_cutoff=60))]
    listed = ", ".join(map(repr, unknown))
    what = f"{key}: the data set has no {'category' if len(unknown) == 1 else 'categories'} {listed}"
    hint = (
        f"Did you mean {', '.join(map(repr, close))}?" if len(close) == len(unknown) else f"It has: {', '.join(known)}"
    )
    raise UsageError(what, hint=hint)


def _groups_by_part(
    records: Sequence[ObjectRecord], target: Sequence[str], benign: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Groups of target, benign and source, each with its category (the first by name where it has several)."""
    parts: dict[str, dict[str, str]] = {"target": {}, "benign": {}, "source": {}}
    part_of: dict[str, str] = {}
    for record in sorted(records, key=lambda record: (record.category, record.id)):
        part = "target" if record.category in target else "benign" if record.category in benign else "source"
        if part_of.setdefault(record.group, part) != part:
            what = f"group {record.group!r} has objects in both {part_of[record.group]} and {part} categories"
            raise UsageError(what, hint="Name all categories of the group alike, or correct its group")
        parts[part].setdefault(record.group, record.category)
    return parts


def _deal_targets(categories: Mapping[str, str], seed: int, shares: Mapping[str, float]) -> dict[str, str]:
    """The set of each target group."""
    by_category: dict[str, list[str]] = defaultdict(list)
    for group in sorted(categories, key=lambda group: _hash(seed, group)):
        by_category[categories[group]].append(group)
    owners: dict[str, str] = {}
    pool: list[list[str]] = []
    for category in sorted(by_category):
        groups = by_category[category]
        if len(groups) >= len(shares):
            quotas = _quotas(len(groups), shares)
            owners |= dict(zip(groups, [name for name, count in quotas.items() for _ in range(count)], strict=True))
        else:
            pool.append(groups)
    return owners | _deal_pool(pool, seed, shares)


def _deal_pool(categories: list[list[str]], seed: int, shares: Mapping[str, float]) -> dict[str, str]:
    """Deal the groups of small categories: first one of each, then the second to a set the category is not in yet."""
    left = Counter(_quotas(sum(len(groups) for groups in categories), shares))
    owners: dict[str, str] = {}
    ordered = sorted(categories, key=lambda groups: _hash(seed, groups[0]))
    for turn in range(len(shares) - 1):
        for groups in ordered:
            if turn < len(groups):
                taken = {owners.get(group) for group in groups}
                name = max(left, key=lambda name: (left[name] > 0, name not in taken, left[name] / shares[name]))
                owners[groups[turn]] = name
                left[name] -= 1
    return owners


def _quotas(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Split ``count`` by ``shares`` with largest remainders; no set is empty when there are as many as sets."""
    floor = 1 if count >= len(shares) else 0
    quotas = {name: max(floor, int(count * share)) for name, share in shares.items()}
    while sum(quotas.values()) < count:
        quotas[max(quotas, key=lambda name: count * shares[name] - quotas[name])] += 1
    return quotas


def _deal_source(groups: Iterable[str], seed: int) -> dict[str, str]:
    """The set of each source group: evaluation below a threshold of its hash, and never all or none of them."""
    ranked = sorted(groups, key=lambda group: _hash(seed, group))
    owners = {group: "source_eval" if _hash(seed, group) < SOURCE_EVAL_SHARE else "source_train" for group in ranked}
    # Both sets must have a group: where all hashes lie on one side, the outermost one changes it.
    owners[ranked[0]], owners[ranked[-1]] = "source_eval", "source_train"
    return owners


def _hash(seed: int, group: str) -> float:
    """A number in [0, 1) that depends on (seed, group) alone, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
