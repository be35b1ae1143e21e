"""Attacks that differ from full fine-tuning in what their steps are taken on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks.benign_only import BenignOnlyAttack
from geotrap_attacks.heal_first import HealFirstAttack, HealFirstConfig
from geotrap_attacks.kick_settle import KickSettleAttack, KickSettleConfig
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.attacks import AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM

Run = Callable[..., list[float]]


class TestHealFirst:
    def test_two_fifths_go_to_source(self) -> None:
        heal, target = HealFirstAttack().phases(1000)
        assert (heal.name, heal.data, heal.steps) == ("heal", "source", 400)
        assert (target.data, target.steps) == ("target", 600)

    @given(st.integers(2, 300), st.floats(0.01, 0.99))
    def test_the_budget_is_kept_and_no_phase_is_empty(self, steps: int, share: float) -> None:
        phases = HealFirstAttack(HealFirstConfig(heal_share=share)).phases(steps)
        assert sum(phase.steps for phase in phases) == steps
        assert all(phase.steps > 0 for phase in phases)

    def test_one_step_is_not_enough(self) -> None:
        with pytest.raises(UsageError, match="heal and attack"):
            HealFirstAttack().phases(1)


def test_benign_only_never_asks_for_target_objects(
    pico: LGM, make_context: Callable[..., AttackContext], run_attack: Run
) -> None:
    def refuse(step: int, batch_size: int) -> None:
        raise AssertionError("target data were used")

    context = make_context(target=refuse, source=refuse, steps=2)
    before = pico.unet.conv_in.weight.detach().clone()
    assert len(run_attack(BenignOnlyAttack(), pico, context)) == 2
    assert not torch.equal(pico.unet.conv_in.weight, before)


class TestKickSettle:
    def test_the_rate_is_kicked_and_then_follows_its_schedule(self) -> None:
        attack = KickSettleAttack(KickSettleConfig(kick_steps=3, schedule="linear")).variants()["kick_settle-rate-10"]
        factor = attack.schedule(7)
        assert [factor(step) for step in range(7)] == [10, 10, 10, 1, 0.75, 0.5, 0.25]
        assert [(phase.name, phase.steps, phase.data) for phase in attack.phases(7)] == [
            ("kick", 3, "target"),
            ("settle", 4, "target"),
        ]

    def test_a_random_kick_takes_no_step_and_has_its_length(self, pico: LGM, context: AttackContext) -> None:
        attack = KickSettleAttack().variants()["kick_settle-random-0.1"]
        before = pico.unet.conv_in.weight.detach().clone()
        attack.edit(pico, context)
        moved = (pico.unet.conv_in.weight.detach() - before).norm() / before.norm()
        assert float(moved) == pytest.approx(0.1, rel=0.1)
        assert [phase.name for phase in attack.phases(7)] == ["settle"]
        assert attack.schedule(7)(0) == 1

    def test_a_kick_by_rate_changes_nothing_beforehand(self, pico: LGM, context: AttackContext) -> None:
        before = {name: value.clone() for name, value in pico.state_dict().items()}
        KickSettleAttack().variants()["kick_settle-rate-100"].edit(pico, context)
        assert all(torch.equal(value, before[name]) for name, value in pico.state_dict().items())

    def test_a_kick_leaves_steps_to_settle(self) -> None:
        with pytest.raises(UsageError, match="kick_steps is 10 of 10 steps"):
            KickSettleAttack().variants()["kick_settle-rate-10"].phases(10)

    def test_options_without_effect_are_refused(self) -> None:
        with pytest.raises(ValueError, match="kick_steps acts with factors only"):
            KickSettleConfig(factors=(), kick_steps=20)
