"""Objects that are kept from training: whole groups, and never those of the test."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.data.held_out import judged_on_validation, set_aside
from geotrap_cli.data.splits import Splits, split_objects
from geotrap_cli.errors import UsageError


def records(groups: int, variants: int) -> list[ObjectRecord]:
    return [
        ObjectRecord(id=f"{kind}/{group}-{variant}", category=kind, group=f"{kind}/{group}", views=4)
        for kind in ("knife", "crate")
        for group in range(groups)
        for variant in range(variants)
    ]


def split(found: list[ObjectRecord], seed: int) -> Splits:
    return split_objects(found, ["knife"], [], seed)


@given(st.integers(8, 30), st.integers(1, 3), st.integers(0, 5), st.floats(0.01, 0.9))
def test_what_settings_are_chosen_by_is_in_no_other_set(groups: int, variants: int, seed: int, share: float) -> None:
    found = records(groups, variants)
    group_of = {record.id: record.group for record in found}
    before = split(found, seed)
    aside = set_aside(before, group_of, share, seed)
    aside.check_disjoint_groups(found)
    assert aside.source_validation and aside.source_train
    assert {*aside.source_train, *aside.source_validation} == set(before.source_train)
    judged = judged_on_validation(aside, group_of, seed)
    judged.check_disjoint_groups(found)
    # Nothing of the test is left, the defense trains on what it trained on, and the attacker lacks what is measured.
    test = {*before.eval_target, *before.source_eval}
    assert not test & {id for ids in judged.as_dict().values() for id in ids}
    assert (judged.defense_target, judged.source_train) == (aside.defense_target, aside.source_train)
    assert {*judged.attack_target, *judged.eval_target} == set(before.attack_target)
    assert judged.source_eval == aside.source_validation


def test_nothing_is_set_aside_unless_asked_for() -> None:
    found = records(8, 1)
    before = split(found, 0)
    assert set_aside(before, {record.id: record.group for record in found}, 0.0, 0) is before


def test_without_source_objects_there_is_no_validation() -> None:
    found = records(8, 1)
    with pytest.raises(UsageError, match=r"data\.set_aside"):
        judged_on_validation(split(found, 0), {record.id: record.group for record in found}, 0)
