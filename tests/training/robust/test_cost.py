"""The passes that a dry run counts are those that a step runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from geotrap_cli.options import CommonOptions
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training import estimate
from geotrap_cli.training.cost import ObjectCost
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.estimate import plan_defense
from geotrap_cli.training.robust.cost import extra_passes
from geotrap_cli.training.terms import Term

SETTINGS = [
    (),
    ("robust.parameter_noise=0.1",),
    ("robust.input_noise=0.1", "robust.clean_weight=0.0"),
    ("robust.awp=0.1",),
    ("robust.unrolled.steps=3",),
    ("robust.head_attack.steps=2", "robust.awp=0.1"),
    ("robust.conflict=opposed", "robust.energy_cap=3.0", "robust.pcgrad=true"),
    ("robust.unit_reset=2",),
    ("robust.unrolled.steps=3", "robust.unrolled.losses=attributes"),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_forward_passes_are_counted(make_objective: Callable[..., DefenseObjective], settings: tuple[str, ...]) -> None:
    objective, objects = make_objective(*settings), []
    objective.model.register_forward_pre_hook(lambda _, inputs: objects.append(len(inputs[0])))
    if "robust.unrolled.losses=attributes" in settings:
        # The undefended generator works beside the attack; what retention asks of it is part of a plain step.
        objective.teacher.register_forward_pre_hook(lambda _, inputs: objects.append(len(inputs[0])))
        objective.retention = lambda *_: Term(torch.zeros(()), {})  # type: ignore[assignment]
    objective(0)
    batch = objective.bench.profile.train.batch_size
    assert sum(objects) == (2 + extra_passes(objective.bench.profile.robust).forward) * batch


@pytest.mark.parametrize(
    ("settings", "forward", "backward", "graphs", "copies"),
    [
        (SETTINGS[0], 0, 0, 0, 0),
        (SETTINGS[1], 1, 1, 1, 1),
        (SETTINGS[2], 1, 0, 0, 0),
        (SETTINGS[3], 2, 2, 1, 3),
        (SETTINGS[4], 4, 4, 1, 5),
        (SETTINGS[5], 5, 3, 2, 3),
        (SETTINGS[6], 0, 0, 0, 0),
        (SETTINGS[7], 1, 1, 1, 1),
        (SETTINGS[8], 7, 4, 1, 5),
    ],
)
def test_the_dry_run_adds_them(
    load_mini: Callable[..., LoadedProfile],
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
    forward: int,
    backward: int,
    graphs: int,
    copies: int,
) -> None:
    cost = ObjectCost(forward=1000.0, backward=2000.0, activations=10**6, heaviest=(8, 8, 4, 16))
    monkeypatch.setattr(estimate, "count_object", lambda *_: cost)
    monkeypatch.setattr(estimate, "measure_rate", lambda *_: 10.0)
    plain, plan = (plan_defense(CommonOptions(device="cpu"), load_mini(*stated)) for stated in ((), settings))
    batch, steps = 2, 7
    added = plan.phases[0].flops - plain.phases[0].flops
    assert added == steps * batch * (1000 * forward + 2000 * backward)
    assert plan.phases[0].memory - plain.phases[0].memory == batch * graphs * 10**6 + 4 * copies * plan.parameters
