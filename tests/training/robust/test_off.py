"""With every mechanism off a step is the plain formula, bit for bit, at the plain price."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from geotrap_cli.gaussians import activate
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.loop import LoopHooks, LoopSettings, optimise
from geotrap_cli.training.retention import distillation
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.trap_set import TrapSet

Open = Callable[..., Any]
STEPS = 3


def plain_trajectory(opened: Any) -> list[torch.Tensor]:
    """All weights after each step of the method as it is written down, computed without the program's objective."""
    bench, model, teacher = opened.bench, opened.model, copy.deepcopy(opened.model)
    profile, traps = bench.profile, TrapSet.from_profile(bench.profile)
    train, retain = profile.train, profile.retain
    trained = list(select_parameters(model, (), True).values())
    optimizer = torch.optim.AdamW(trained, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=True)
    target_views = bench.sampler(bench.splits.defense_target, 0, train.seed)
    source_views = bench.sampler(bench.splits.source_train, 0, train.seed)
    schedule, stored = make_schedule(train.schedule, train.steps, train.warmup_steps), []
    for step in range(STEPS):
        target, source = (views.batch(step, train.batch_size).images for views in (target_views, source_views))
        gaussians = activate(model(torch.cat([target, source])))
        with torch.no_grad():
            taught = activate(teacher(source))
        distill = distillation(gaussians[len(target) :], taught, retain.power)
        trap = traps.aggregate(traps.losses(gaussians[: len(target)])).mean()
        total = train.source_ratio * (retain.weight * distill) + (1 - train.source_ratio) * train.trap_weight * trap
        optimizer.param_groups[0]["lr"] = train.lr * schedule(step)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, train.clip_norm)
        optimizer.step()
        stored.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    return stored


def test_the_trajectory_is_bit_for_bit_the_plain_formula(open_mini: Open) -> None:
    expected = plain_trajectory(open_mini())
    opened = open_mini()
    bench, model, train = opened.bench, opened.model, opened.bench.profile.train
    trained = list(select_parameters(model, (), True).values())
    teacher = copy.deepcopy(model)
    objective = DefenseObjective(bench, model, teacher, TrapSet.from_profile(bench.profile))
    optimizer = torch.optim.AdamW(trained, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=True)
    reached: list[torch.Tensor] = []

    def keep(*_: Any) -> None:
        reached.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())

    hooks = LoopHooks(on_step=keep, backward=objective.backward)
    schedule = make_schedule(train.schedule, train.steps, train.warmup_steps)
    optimise(objective, trained, optimizer, schedule, LoopSettings(STEPS, train.clip_norm), hooks)
    assert len(reached) == STEPS
    assert all(mine.equal(theirs) for mine, theirs in zip(reached, expected, strict=True))
    assert not reached[0].equal(reached[-1])


def test_a_plain_step_is_one_pass_and_reports_nothing_more(make_objective: Callable[..., DefenseObjective]) -> None:
    objective, sizes = make_objective(), []
    objective.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    terms = objective(0)
    assert sizes == [4]
    assert terms.keys() == {"position_static", "opacity_static", "distill", "total"}
    assert objective.backward(terms) == {}
    assert objective.mechanisms.perturbations == objective.mechanisms.treatments == objective.extra_terms == ()
