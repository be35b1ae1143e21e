"""Objects that are kept from training so that settings can be chosen by them: always whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from geotrap_cli.data.splits import Splits
from geotrap_cli.errors import UsageError

VALIDATION_SHARE = 0.2


def split_groups(
    ids: Sequence[str], groups: Mapping[str, str], seed: int, share: float, what: str, key: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split objects by group into those to train on and a ``share`` of the groups, at least one, that is held out.

    Args:
        ids: The objects.
        groups: The group of each.
        seed: Another seed holds out others.
        share: Share of the groups.
        what: What they are split for, for the error.
        key: The option of the profile that names their categories.

    Raises:
        UsageError: There are fewer than two groups.
    """
    names = sorted({groups[id] for id in ids})
    if len(names) < 2:
        found = "one group" if names else "none"
        raise UsageError(f"{what}, and there is {found} of them", f"Name more categories in {key}, or use more objects")
    count = min(len(names) - 1, max(1, round(share * len(names))))
    held = {names[index] for index in np.random.default_rng(seed).permutation(len(names))[:count]}
    return tuple(id for id in ids if groups[id] not in held), tuple(id for id in ids if groups[id] in held)


def split_validation(
    ids: Sequence[str], groups: Mapping[str, str], seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the attacker's objects into training and validation by group: a fifth of the groups, at least one.

    Args:
        ids: The objects.
        groups: The group of each.
        seed: Another seed holds out others.

    Raises:
        UsageError: There is one group only.
    """
    what = "the attack holds out target objects to validate on"
    return split_groups(ids, groups, seed, VALIDATION_SHARE, what, "data.target")


def set_aside(splits: Splits, groups: Mapping[str, str], share: float, seed: int) -> Splits:
    """Return the splits with a share of the groups of ``source_train`` as ``source_validation``; zero: unchanged.

    Raises:
        UsageError: There is one group of source objects only.
    """
    if share == 0:
        return splits
    what = "data.set_aside keeps source objects from training"
    trained, held_out = split_groups(splits.source_train, groups, seed, share, what, "data.source")
    return replace(splits, source_train=trained, source_validation=held_out)


def judged_on_validation(splits: Splits, groups: Mapping[str, str], seed: int) -> Splits:
    """Return the splits with validation objects as what is measured, and nothing of the objects of the test.

    Target objects are a fifth of the attacker's groups, on which it then does not train; source objects are those that
    were set aside.

    Raises:
        UsageError: The attacker has one group of target objects only, or no source objects are set aside.
    """
    if not splits.source_validation:
        what = "eval.split is 'validation', and no source objects are set aside"
        raise UsageError(what, "Set data.set_aside, for example to 0.2, for defense and attack alike")
    judged = judged_on_own(splits, groups, seed)
    return replace(judged, source_eval=splits.source_validation, source_validation=())


def judged_on_own(splits: Splits, groups: Mapping[str, str], seed: int) -> Splits:
    """Return the splits with a fifth of the attacker's groups as the target objects that are measured.

    Raises:
        UsageError: The attacker has one group of target objects only.
    """
    trained, held_out = split_validation(splits.attack_target, groups, seed)
    return replace(splits, attack_target=trained, eval_target=held_out)
