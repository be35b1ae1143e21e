"""From keys to variants, and from phases to steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geotrap_cli.attacks import Attack, Phase
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.suites import ADAPTIVE, QUICK, SUITES
from geotrap_cli.training import attack_plan
from geotrap_cli.training.attack_objective import PhasePlan
from geotrap_cli.training.attack_plan import left_out, plan_attacks


class Misnamed(Attack):
    key = "misnamed"
    names: tuple[str, ...] = ("other",)

    def variants(self) -> dict[str, Attack]:
        return dict.fromkeys(self.names, Attack())


class TestVariants:
    def test_each_has_its_name_and_family(self, load_mini: Callable[..., Any]) -> None:
        planned = plan_attacks(load_mini("attack.methods=lora,lora_rank", "attack.lora_rank.ranks=[2, 4]").profile)
        assert [(one.method, one.family) for one in planned] == [
            ("lora", "lora"),
            ("lora_rank-2", "lora_rank"),
            ("lora_rank-4", "lora_rank"),
        ]

    def test_the_number_of_objects_counts_once_it_is_known(self, load_mini: Callable[..., Any]) -> None:
        profile = load_mini("attack.methods=data_size").profile
        assert len(plan_attacks(profile)) == 6
        assert [one.method for one in plan_attacks(profile, 4)] == ["data_size-1", "data_size-all"]

    def test_an_attack_that_lacks_what_it_needs_is_refused_before_anything_runs(
        self, load_mini: Callable[..., Any]
    ) -> None:
        with pytest.raises(UsageError, match=r"teacher_outputs needs attack\.teacher_outputs\.teacher"):
            plan_attacks(load_mini("attack.methods=lora,teacher_outputs").profile)
        named = load_mini("attack.methods=teacher_outputs", "attack.teacher_outputs.teacher=public")
        assert [one.method for one in plan_attacks(named.profile)] == ["teacher_outputs"]

    @pytest.mark.parametrize("names", [("other",), ("misnamed", "misnamedx"), ("misnamed-a/b",), ()])
    def test_names_tell_the_family(
        self, load_mini: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
    ) -> None:
        attack = Misnamed()
        attack.names = names
        monkeypatch.setattr(attack_plan, "build_plugin", lambda *_: attack)
        with pytest.raises(GeotrapError, match=r"attack lora (names|has no)"):
            plan_attacks(load_mini("attack.methods=lora").profile)


class TestPhases:
    def test_steps_in_a_row(self) -> None:
        plan = PhasePlan([Phase("heal", 2, "source"), Phase("none", 0), Phase("target", 3)])
        assert plan.steps == 5
        assert [plan.at(step).name for step in range(5)] == ["heal"] * 2 + ["target"] * 3
        assert [plan.is_last(step) for step in range(5)] == [False] * 2 + [True] * 3

    def test_an_attack_without_steps_is_no_attack(self) -> None:
        with pytest.raises(ValueError, match="without any step"):
            PhasePlan([Phase("none", 0)])


class TestSuites:
    @pytest.mark.parametrize("name", SUITES)
    def test_every_attack_of_a_suite_exists(self, name: str) -> None:
        keys = SUITES[name].keys()
        assert keys
        assert set(keys) <= set(plugin_keys("geotrap.attacks"))
        assert len(set(keys)) == len(keys)

    def test_full_has_all(self) -> None:
        assert set(SUITES["full"].keys()) == set(plugin_keys("geotrap.attacks")) > {*QUICK, *ADAPTIVE}


class TestMisfits:
    def test_variants_that_do_not_fit_the_budget_are_left_out(self, load_mini: Callable[..., Any]) -> None:
        profile = load_mini("attack.methods=kick_settle", "attack.steps=10").profile
        assert [one.method for one in plan_attacks(profile)] == ["kick_settle-random-0.1"]
        why = "kick_steps is 10 of 10 steps"
        assert left_out(profile) == {"kick_settle-rate-10": why, "kick_settle-rate-100": why}
        roomy = load_mini("attack.methods=kick_settle", "attack.steps=11").profile
        assert left_out(roomy) == {} and len(plan_attacks(roomy)) == 3

    def test_more_units_than_there_are(self, load_mini: Callable[..., Any], micro: LGM) -> None:
        there = len(micro.units())
        stated = f"attack.unit_reset.counts=[{there}, {there + 1}]"
        profile = load_mini("attack.methods=unit_reset", stated).profile
        assert [one.method for one in plan_attacks(profile)] == [f"unit_reset-{there}"]
        assert left_out(profile) == {f"unit_reset-{there + 1}": f"{there + 1} of {there} units"}

    def test_an_attack_without_any_variant_that_fits_is_refused(self, load_mini: Callable[..., Any]) -> None:
        sets = ("attack.methods=lora,kick_settle", "attack.kick_settle.displacements=[]", "attack.steps=4")
        with pytest.raises(UsageError, match="kick_settle cannot run: kick_steps is 10 of 4 steps"):
            plan_attacks(load_mini(*sets).profile)
        assert left_out(load_mini(*sets).profile) == {"kick_settle": "kick_steps is 10 of 4 steps"}
