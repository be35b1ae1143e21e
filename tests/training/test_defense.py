"""The objective: total = p·λ_distill·distillation + (1 − p)·λ_trap·A(traps)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.retention import distillation
from geotrap_cli.training.trap_set import TrapSet

Open = Callable[..., Any]


def objective(opened: Any) -> DefenseObjective:
    """With a student that has already moved, so that the distillation is not zero."""
    teacher = copy.deepcopy(opened.model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in opened.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))


@pytest.mark.parametrize(
    ("ratio", "trap", "distill", "power"),
    [(0.8, 20.0, 400.0, 1), (0.25, 3.0, 7.0, 2), (1.0, 3.0, 7.0, 1), (0.0, 2.0, 5.0, 1)],
)
def test_total_is_the_formula(open_mini: Open, ratio: float, trap: float, distill: float, power: int) -> None:
    opened = open_mini(
        f"train.source_ratio={ratio}", f"train.trap_weight={trap}", f"retain.weight={distill}", f"retain.power={power}"
    )
    objective_ = objective(opened)
    terms = objective_(3)
    target = objective_.target.batch(3, 2)
    source = objective_.source.batch(3, 2)
    model, teacher, traps = objective_.model, objective_.teacher, objective_.traps
    losses = traps.losses(model.forward_gaussians(target.images))
    kept = distillation(model.forward_gaussians(source.images), teacher.forward_gaussians(source.images), power)
    expected = ratio * distill * kept + (1 - ratio) * trap * traps.aggregate(losses).mean()
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["distill"].item() == pytest.approx(kept.item(), rel=1e-4)
    for key, loss in losses.items():
        assert terms[f"{key}_static"].item() == pytest.approx(loss.mean().item(), rel=1e-4)
    assert terms.keys() == {"total", "distill", "position_static", "opacity_static"}


def test_gradient_reaches_only_what_is_trained(open_mini: Open) -> None:
    opened = open_mini()
    objective_ = objective(opened)
    chosen = select_parameters(opened.model, ["unet.mid_block.nets.0", "unet.conv_in"], freeze_head=True)
    objective_(0)["total"].backward()
    touched = [name for name, parameter in opened.model.named_parameters() if parameter.grad is not None]
    assert touched == list(chosen)
    assert all(parameter.grad.abs().sum() > 0 for parameter in chosen.values())
    assert all(parameter.grad is None for parameter in objective_.teacher.parameters())


def test_traps_see_target_and_distillation_sees_source(open_mini: Open) -> None:
    opened = open_mini()
    objective_ = objective(opened)
    assert set(objective_.target.ids) == set(opened.bench.splits.defense_target)
    assert set(objective_.source.ids) == set(opened.bench.splits.source_train)


def test_a_step_is_a_function_of_its_number(open_mini: Open) -> None:
    objective_ = objective(open_mini())
    first = {step: objective_(step)["total"].item() for step in (0, 1, 2)}
    assert len(set(first.values())) == 3
    assert {step: objective_(step)["total"].item() for step in (2, 0, 1)} == first


def test_the_undefended_model_costs_no_distillation(open_mini: Open) -> None:
    opened = open_mini()
    teacher = copy.deepcopy(opened.model)
    terms = DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))(0)
    assert terms["distill"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("field", ["train.seed=1", "train.batch_size=3", "train.precision=bf16"])
def test_options_act(open_mini: Open, field: str) -> None:
    plain, changed = objective(open_mini())(0), objective(open_mini(field))(0)
    assert plain["total"].item() != changed["total"].item()
    assert changed["total"].dtype == torch.float32
    assert changed["total"].item() == pytest.approx(plain["total"].item(), rel=1.0)


def test_descending_deepens_the_traps_and_holds_the_source(open_mini: Open) -> None:
    opened = open_mini("retain.weight=50.0")
    teacher = copy.deepcopy(opened.model)
    objective_ = DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))
    optimizer = torch.optim.AdamW(opened.model.parameters(), lr=5e-3)
    history = []
    for _ in range(8):
        terms = objective_(0)
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    assert history[-1]["position_static"] < history[0]["position_static"] - 0.05
    assert history[-1]["distill"] < 0.2
