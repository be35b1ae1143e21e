"""Full fine-tuning by other recipes, rates, schedules and optimizers."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable

import pytest
import torch
from geotrap_attacks._wrapped import WrappedAttack
from geotrap_attacks.full import FullAttack
from geotrap_attacks.full_lgm import FullLgmAttack
from geotrap_attacks.full_small_lr import FullSmallLrAttack
from geotrap_attacks.lr_sweep import LrSweepAttack
from geotrap_attacks.optimizer_sweep import OptimizerSweepAttack, OptimizerSweepConfig
from geotrap_attacks.schedule_sweep import ScheduleSweepAttack, warm_restarts
from geotrap_attacks.sgd import SgdAttack, SgdConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geotrap_cli.attacks import Attack
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]


def weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value]))


def descend(attack: Attack, steps: int = 200) -> float:
    """Where the attack's optimizer gets from 1 on a parabola, under the attack's schedule."""
    parameter = weight()
    optimizer, schedule = attack.optimizer([parameter]), attack.schedule(steps)
    for step in range(steps):
        for group in optimizer.param_groups:
            group.setdefault("base", group["lr"])
            group["lr"] = group["base"] * schedule(step)
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    attack.finish(nn.Module())  # type: ignore[arg-type]
    return float(parameter.detach())


class TestRecipes:
    def test_lgm(self) -> None:
        attack = FullLgmAttack()
        (group,) = attack.optimizer([weight()]).param_groups
        assert (group["lr"], group["weight_decay"], group["betas"]) == (4e-4, 0.05, (0.9, 0.95))
        factors = [attack.schedule(100)(step) for step in range(100)]
        assert factors[0] == pytest.approx(1 / 25)
        assert max(factors) == factors[29] == 1.0
        assert factors[-1] < 1e-4
        assert attack.config.clip_norm == 1.0

    def test_small_rate_stays_and_looks_at_no_perceptual_term(self) -> None:
        attack = FullSmallLrAttack()
        assert {attack.schedule(50)(step) for step in range(50)} == {1.0}
        assert attack.config.lr == 5e-5
        assert not attack.perceptual
        assert FullAttack().perceptual

    def test_sgd_steps_grow_with_the_gradient(self) -> None:
        def step(slope: float) -> float:
            parameter = weight(0.0)
            parameter.grad = torch.tensor([slope])
            SgdAttack(SgdConfig(lr=0.1, momentum=0.0)).optimizer([parameter]).step()
            return float(parameter.detach())

        assert step(3.0) == pytest.approx(-0.3)
        assert step(6.0) == pytest.approx(2 * step(3.0))


class TestLearningRates:
    def test_a_logarithmic_grid_for_each_method(self) -> None:
        variants = LrSweepAttack().variants()
        assert len(variants) == 14
        rates = [attack.config.lr for name, attack in variants.items() if "-full-" in name]  # type: ignore[attr-defined]
        assert (rates[0], rates[-1], len(rates)) == (1e-6, 1e-3, 7)
        ratios = [later / earlier for earlier, later in itertools.pairwise(rates)]
        assert ratios == pytest.approx([10**0.5] * 6, rel=0.02)
        assert [attack.config.lr for name, attack in variants.items() if "-lora-" in name] == rates  # type: ignore[attr-defined]


class TestSchedules:
    def test_every_schedule_is_another(self) -> None:
        curves = {
            name: tuple(attack.schedule(400)(step) for step in range(400))
            for name, attack in ScheduleSweepAttack().variants().items()
        }
        assert len(curves) == len(set(curves.values())) == 6
        assert all(0 <= factor <= 1 for curve in curves.values() for factor in curve)
        for name, length in (("warmup_30", 30), ("warmup_100", 100), ("warmup_tenth", 40)):
            curve = curves[f"schedule_sweep-{name}"]
            assert curve.index(1.0) == length - 1
            assert set(curve[length:]) == {1.0}

    @given(st.integers(1, 2000))
    def test_restarts_begin_at_the_peak_and_double(self, steps: int) -> None:
        factor = warm_restarts(steps)
        curve = [factor(step) for step in range(steps)]
        assert curve[0] == 1.0
        assert all(0 <= value <= 1 for value in curve)
        jumps = [step for step in range(1, steps) if curve[step] > curve[step - 1]]
        assert len(jumps) <= 2
        if steps >= 70:
            assert jumps == pytest.approx([steps / 7, 3 * steps / 7], abs=1)


class TestOptimizers:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("sgd", "SGD"),
            ("nesterov", "SGD"),
            ("adam", "Adam"),
            ("adamw", "AdamW"),
            ("adagrad", "Adagrad"),
            ("adadelta", "Adadelta"),
            ("lion", "Lion"),
            ("schedule_free", "AdamWScheduleFree"),
        ],
    )
    def test_each_descends(self, name: str, kind: str) -> None:
        attack = OptimizerSweepAttack().variants()[f"optimizer_sweep-{name}"]
        assert type(attack.optimizer([weight()])).__name__ == kind
        assert abs(descend(attack)) < 1

    def test_the_factor_scales_each_own_rate(self) -> None:
        def rates(factor: float) -> list[float]:
            variants = OptimizerSweepAttack(OptimizerSweepConfig(lr_factor=factor)).variants()
            return [float(attack.optimizer([weight()]).param_groups[0]["lr"]) for attack in variants.values()]

        assert len(set(rates(1.0))) > 3
        assert rates(2.0) == pytest.approx([2 * rate for rate in rates(1.0)])

    def test_schedule_free_is_measured_at_its_average_and_goes_on_from_its_iterate(self) -> None:
        attack = OptimizerSweepAttack(OptimizerSweepConfig(lr_factor=300)).variants()["optimizer_sweep-schedule_free"]
        parameter = weight()
        optimizer = attack.optimizer([parameter])
        for _ in range(5):
            optimizer.zero_grad()
            parameter.square().sum().backward()
            optimizer.step()
        iterate = parameter.item()
        with attack.as_released(nn.Module()):  # type: ignore[arg-type]
            average = parameter.item()
        assert average != iterate
        assert parameter.item() == pytest.approx(iterate)
        attack.finish(nn.Module())  # type: ignore[arg-type]
        assert parameter.item() == pytest.approx(average)


def test_a_wrapper_passes_on_every_method_of_an_attack() -> None:
    own = {"variants", "available_variants", "extra_terms"}
    methods = {name for name, value in vars(Attack).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert methods - own <= vars(WrappedAttack).keys()
