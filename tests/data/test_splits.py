"""Splits: disjoint, complete, balanced and stable."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.splits import Splits, split_objects
from geotrap_cli.errors import GeotrapError, UsageError

TARGET_SETS = ("defense_target", "attack_target", "eval_target")


def made(counts: dict[str, int], variants: int = 1) -> list[ObjectRecord]:
    """``counts`` groups of each category, each of ``variants`` objects."""
    return [
        ObjectRecord(f"{category}/{i}__v{v}", f"{category}-{i}", category, 24)
        for category, count in counts.items()
        for i in range(count)
        for v in range(variants)
    ]


def groups_of(ids: tuple[str, ...]) -> set[str]:
    return {id.split("__")[0].replace("/", "-") for id in ids}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(2, 30),
    st.integers(0, 4),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_every_object_is_in_exactly_one_set_with_its_whole_group(
    targets: list[int], source: int, benign: int, variants: int, seed: int
) -> None:
    assume(sum(targets) >= 3)
    counts = {f"t{i}": count for i, count in enumerate(targets)} | {"s": source, "b": benign}
    records = made(counts, variants)
    splits = split_objects(records, [f"t{i}" for i in range(len(targets))], ["b"] if benign else [], seed)
    sets = splits.as_dict()
    assert Counter(id for ids in sets.values() for id in ids) == Counter(record.id for record in records)
    owned = [group for ids in sets.values() for group in groups_of(tuple(ids))]
    assert len(owned) == len(set(owned))
    assert all(sets[name] for name in sets if name != "benign")
    assert groups_of(splits.benign) == {f"b-{i}" for i in range(benign)}
    assert all(id.startswith("t") for name in TARGET_SETS for id in sets[name])
    assert all(id.startswith("s/") for id in (*splits.source_train, *splits.source_eval))


@pytest.mark.parametrize(
    ("count", "dealt"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (2, 2, 1)), (6, (2, 2, 2)), (10, (4, 3, 3)), (20, (8, 6, 6))],
)
def test_a_category_is_dealt_40_30_30(count: int, dealt: tuple[int, ...]) -> None:
    splits = split_objects(made({"t": count, "s": 9}), ["t"], [], 0)
    assert tuple(len(getattr(splits, name)) for name in TARGET_SETS) == dealt


def test_every_set_knows_every_category_of_three_groups() -> None:
    splits = split_objects(made({"t": 3, "u": 5, "s": 9}), ["t", "u"], [], 3)
    for name in TARGET_SETS:
        assert {id[0] for id in getattr(splits, name)} == {"t", "u"}


@pytest.mark.parametrize("seed", range(8))
def test_small_categories_are_pooled_evenly_and_not_twice_in_a_set(seed: int) -> None:
    splits = split_objects(made({f"t{i}": 2 for i in range(6)} | {"s": 9}, 6), [f"t{i}" for i in range(6)], [], seed)
    sets = [groups_of(getattr(splits, name)) for name in TARGET_SETS]
    assert sorted(len(groups) for groups in sets) == [3, 4, 5]
    assert all(len({group.split("-")[0] for group in groups}) == len(groups) for groups in sets)


def test_the_source_split_does_not_change_when_objects_are_added() -> None:
    few = split_objects(made({"t": 3, "s": 40}), ["t"], [], 1)
    many = split_objects(made({"t": 3, "s": 80, "more": 50}), ["t"], [], 1)
    assert set(few.source_eval) <= set(many.source_eval)
    assert set(few.source_train) <= set(many.source_train)


def test_about_a_fifth_of_the_source_is_for_evaluation() -> None:
    splits = split_objects(made({"t": 3, "s": 2000}), ["t"], [], 0)
    assert 0.17 < len(splits.source_eval) / 2000 < 0.23


def test_the_order_of_records_does_not_matter_and_the_seed_does() -> None:
    records = made({"t": 9, "s": 30})
    splits = split_objects(records, ["t"], [], 0)
    assert splits == split_objects(records[::-1], ["t", "t"], [], 0)
    assert splits != split_objects(records, ["t"], [], 1)


@pytest.mark.parametrize(
    ("target", "benign", "message"),
    [
        (["sward"], [], "data.target: the data set has no category 'sward'. Did you mean 'sword'"),
        (["zzz"], [], "no category 'zzz'. It has: chair, sword"),
        (["sword"], ["char"], "Did you mean 'chair'"),
        ([], [], "data.target names no category"),
        (["sward", "chiar"], [], "no categories 'sward', 'chiar'. Did you mean 'sword', 'chair'"),
        (["sward", "zzz"], [], "no categories 'sward', 'zzz'. It has: chair, sword"),
        (["sword"], ["sward"], "data.benign: the data set has no category 'sward'"),
        (["sword"], ["sword"], "'sword' is in both data.target and data.benign"),
        (["sword"], ["chair"], "leave 0 source groups, and two are needed"),
        (["chair"], [], "data.target: the data set has 2 groups of them"),
    ],
)
def test_impossible_splits_are_refused(target: list[str], benign: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_objects(made({"sword": 4, "chair": 2}), target, benign, 0)
    assert message in str(caught.value)


def test_a_group_across_the_border_is_refused() -> None:
    records = [*made({"t": 4, "s": 5}), ObjectRecord("s/odd", "t-1", "s", 24)]
    with pytest.raises(UsageError, match="group 't-1' has objects in both source and target"):
        split_objects(records, ["t"], [], 0)


def test_an_overlap_is_found_and_named() -> None:
    records = made({"t": 4, "s": 5}, variants=2)
    splits = split_objects(records, ["t"], [], 0)
    splits.check_disjoint_groups(records)
    stolen = dataclasses.replace(splits, eval_target=(*splits.eval_target, splits.attack_target[0]))
    with pytest.raises(GeotrapError, match=r"group 't-\d' is in both attack_target and eval_target"):
        stolen.check_disjoint_groups(records)
    unknown = dataclasses.replace(splits, benign=("x/y",))
    with pytest.raises(GeotrapError, match="benign: object 'x/y' is not in the data set"):
        unknown.check_disjoint_groups(records)


@pytest.mark.objects128
def test_the_real_set_splits_by_group() -> None:
    root = os.environ.get("GEOTRAP_OBJECTS128")
    if not root:
        pytest.skip("GEOTRAP_OBJECTS128 names no folder")
    records = open_dataset("blender", {"root": root}).records
    splits: Splits = split_objects(records, ["sword", "axe", "dagger", "crossbow", "staff", "arrow"], ["food"], 0)
    assert [len(getattr(splits, name)) for name in TARGET_SETS] == [24, 24, 24]
    assert len(splits.benign) == 37
    assert 40 < len(splits.source_eval) < 70
