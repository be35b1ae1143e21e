"""An attacker with a data set of its own: its objects and no others, and never the defender's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.data.joined import PREFIX
from geotrap_cli.errors import UsageError
from geotrap_cli.training.attack_context import open_attack_data
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.workbench import open_workbench

CPU = torch.device("cpu")
OTHER = ("attack.data.kind=procedural", "attack.data.objects_per_category=5", "attack.data.target=scissors,knife")


@pytest.fixture
def open_both(load_mini: Callable[..., Any], micro: Any) -> Callable[..., Any]:
    def open_(*overrides: str) -> Any:
        profile = load_mini("model.weights=random", *overrides).profile
        return open_workbench(profile, CPU, micro), open_attack_workbench(profile, CPU, micro)

    return open_


def test_without_the_table_nothing_changes(open_both: Callable[..., Any]) -> None:
    defense, attack = open_both()
    assert attack.splits == defense.splits and attack.dataset.fingerprint() == defense.dataset.fingerprint()


def test_target_objects_are_the_attackers_and_all_others_the_defenders(open_both: Callable[..., Any]) -> None:
    defense, attack = open_both(*OTHER, "attack.data.seed=3")
    for name, ids in attack.splits.as_dict().items():
        if name in ("attack_target", "eval_target"):
            assert ids and all(id.startswith((f"{PREFIX}scissors/", f"{PREFIX}knife/")) for id in ids)
        else:
            assert tuple(ids) == getattr(defense.splits, name)
    assert attack.dataset.fingerprint() != defense.dataset.fingerprint()


def test_validation_objects_are_the_attackers_too(open_both: Callable[..., Any]) -> None:
    _, test = open_both(*OTHER, "data.set_aside=0.2")
    defense, own = open_both(*OTHER, "data.set_aside=0.2", "eval.split=validation")
    assert {*own.splits.attack_target, *own.splits.eval_target} == set(test.splits.attack_target)
    assert not set(own.splits.eval_target) & set(test.splits.eval_target)
    assert own.splits.source_eval == defense.splits.source_eval == test.splits.source_validation


def test_groups_that_the_defender_has_are_left_out(open_both: Callable[..., Any]) -> None:
    defense, attack = open_both(*OTHER)
    mine = {id.removeprefix(PREFIX) for id in (*attack.splits.attack_target, *attack.splits.eval_target)}
    assert not mine & set(defense.splits.defense_target)
    assert {f"scissors/scissors_{index:04d}" for index in range(5)} - set(defense.splits.benign) >= {
        id for id in mine if id.startswith("scissors")
    }
    attack.splits.check_disjoint_groups(attack.dataset.records)


def test_the_attacker_samples_from_its_own_data(open_both: Callable[..., Any]) -> None:
    from geotrap_cli.attacks import Attack

    _, attack = open_both(*OTHER)
    data = open_attack_data(attack, type("Plain", (Attack,), {"key": "plain", "summary": ""})(Attack.Config()))
    assert all(id.startswith(PREFIX) for id in data.sampler("target").batch(0, 2).ids)
    assert not any(id.startswith(PREFIX) for id in data.sampler("source").batch(0, 2).ids)


def test_a_data_set_without_the_targets_is_an_error(open_both: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=r"attack\.data\.target: the data set has no category 'spoon'"):
        open_both(*OTHER, "attack.data.target=spoon")
