"""What a mechanism draws depends on (seed, step) alone: a run that was interrupted ends in the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.learning_rates import parameter_groups
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.schedules import make_schedule

STEPS = 4
SETTINGS = ("robust.parameter_noise=0.05", "robust.unrolled.steps=1", "robust.energy_cap=3.0")
MULTIPLIERS = {"unet.mid_block": 2.0}


class Killed(Exception):
    """Ends a run without a word."""


def train(objective: DefenseObjective, folder: Path, die_after: int | None = None) -> list[Metrics]:
    """Train for four steps with a checkpoint at every second one; return the metrics of the steps that were run."""
    model, rows = objective.model, []
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameter_groups(model, trained, 1e-3, MULTIPLIERS), lr=1e-3)

    def on_step(step: int, metrics: Metrics) -> None:
        rows.append({name: value for name, value in metrics.items() if name != "seconds"})
        if step == die_after:
            raise Killed

    hooks = LoopHooks(on_step=on_step, backward=objective.backward)
    settings = LoopSettings(STEPS, 1.0, checkpoint_every=2)
    schedule = make_schedule("constant", STEPS, 2)
    checkpointer = Checkpointer(folder / "last", trained, optimizer)
    optimise(objective, list(trained.values()), optimizer, schedule, settings, hooks, checkpointer)
    return rows


def test_resuming_changes_no_bit(make_objective: Callable[..., DefenseObjective], tmp_path: Path) -> None:
    whole = make_objective(*SETTINGS)
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        train(make_objective(*SETTINGS), tmp_path / "killed", die_after=3)
    # Another process would not draw from where this one's global generator is.
    torch.manual_seed(1234)
    resumed = make_objective(*SETTINGS)
    assert train(resumed, tmp_path / "killed") == expected[2:]
    for mine, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert mine.equal(other)
    assert {"parameter_noise_static", "unrolled_static", "energy_capped"} <= expected[0].keys()
