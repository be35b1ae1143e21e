"""Two data sets as one, and the attacker's half of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from geotrap_cli.data.base import ObjectDataset, ObjectRecord
from geotrap_cli.data.blender import BlenderConfig, BlenderDataset
from geotrap_cli.data.joined import PREFIX, JoinedDataset
from geotrap_cli.data.splits import split_attack_objects
from geotrap_cli.errors import UsageError


@pytest.fixture
def joined(balls: Any) -> JoinedDataset:
    return JoinedDataset(*(BlenderDataset(BlenderConfig(root=balls.root)) for _ in range(2)))


def test_ids_of_the_second_are_told_apart_and_groups_are_not(joined: JoinedDataset) -> None:
    assert isinstance(joined, ObjectDataset)
    assert [record.id for record in joined.records] == [
        *("tool/c", "toy/a", "toy/b"),
        *("attack:tool/c", "attack:toy/a", "attack:toy/b"),
    ]
    assert [record.group for record in joined.records] == ["tool/c", "ab", "ab"] * 2


def test_views_come_from_the_data_set_of_the_object(balls: Any, joined: JoinedDataset) -> None:
    for id in ("toy/a", "tool/c"):
        assert torch.equal(joined.views(PREFIX + id, [3], 16).rgba, joined.other.views(id, [3], 16).rgba)
        assert joined.rings(id) == joined.own.rings(id)
    with pytest.raises(UsageError, match="no object 'absent'"):
        joined.views("attack:absent", [0], 16)


def test_both_are_prepared_and_fingerprinted(joined: JoinedDataset) -> None:
    asked: dict[str, list[str]] = {"own": [], "other": []}
    for name, dataset in (("own", joined.own), ("other", joined.other)):
        dataset.prepare = lambda ids, *_, name=name: asked[name].extend(ids)  # type: ignore[attr-defined]
    joined.prepare(["toy/a", "attack:tool/c", "attack:toy/b"])
    assert asked == {"own": ["toy/a"], "other": ["tool/c", "toy/b"]}
    before = joined.fingerprint()
    joined.other.fingerprint = lambda: "changed"  # type: ignore[method-assign]
    assert joined.fingerprint() != before


def records(counts: dict[str, int], variants: int = 2) -> list[ObjectRecord]:
    return [
        ObjectRecord(f"{name}/{group}_{variant}", f"{name}/{group}", name, 24)
        for name, count in counts.items()
        for group in range(count)
        for variant in range(variants)
    ]


def test_the_attackers_objects_are_halved_by_group_without_the_defenders() -> None:
    found = split_attack_objects(records({"axe": 7, "mug": 4, "saw": 1}), ["axe", "saw"], 0, {"axe/3"})
    groups = {name: {id.rpartition("_")[0] for id in ids} for name, ids in found.items()}
    assert not groups["attack_target"] & groups["eval_target"]
    assert groups["attack_target"] | groups["eval_target"] == {*(f"axe/{i}" for i in (0, 1, 2, 4, 5, 6)), "saw/0"}
    assert sum(group.startswith("axe") for group in groups["attack_target"]) == 3
    assert all(len(ids) == 2 * len(groups[name]) for name, ids in found.items())
    assert found != split_attack_objects(records({"axe": 7, "mug": 4, "saw": 1}), ["axe", "saw"], 5, {"axe/3"})


@pytest.mark.parametrize(
    ("target", "taken", "message"),
    [(["axe"], {"axe/0"}, "there are 1 groups"), (["axel"], set(), "attack.data.target: .*Did you mean 'axe'")],
)
def test_too_few_or_unknown_objects_are_an_error(target: list[str], taken: set[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_attack_objects(records({"axe": 2}), target, 0, taken)
    assert re.search(message, str(caught.value))
