"""What both sides pay: the defense for its training, each attacker for its steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.usage import Usage


@dataclass(frozen=True)
class UsedResources:
    """What one side used, with what follows from it.

    Attributes:
        samples_per_second: Objects that gradients were taken of, a second; None where no time passed.
        rendered_pixels: Pixels of all rendered images, evaluations included.
        peak_memory: Most memory in use at once (bytes), on CUDA of tensors alone.
        gpu_hours: Hours times GPUs; 0 on the CPU.
    """

    samples_per_second: float | None
    rendered_pixels: int
    peak_memory: int
    gpu_hours: float


@dataclass(frozen=True)
class DefenseCost:
    """The cost of the defense.

    Attributes:
        seconds: Duration of its optimisation; None where that is not known.
        missing: Why it is not.
        usage: What the optimisation used; None in old runs and for a defense without steps.
    """

    seconds: float | None
    missing: str | None = None
    usage: UsedResources | None = None


@dataclass(frozen=True)
class AttackCost:
    """The cost of one attack on one set of weights.

    Attributes:
        seconds: Duration, evaluations included.
        steps: Optimizer steps.
        samples: Objects in all its batches; None in old runs.
        trainable_parameters: Trained values.
        seconds_to_recover: Share of the duration until the recovery threshold, by steps; censored where it is not
            reached, None where that is unknown.
        usage: What else it used; None in old runs.
    """

    seconds: float
    steps: int
    samples: int | None
    trainable_parameters: int
    seconds_to_recover: Count | None
    usage: UsedResources | None = None


def used_resources(usage: Usage) -> UsedResources:
    """Return what a report tells of ``usage``."""
    return UsedResources(usage.samples_per_second, usage.rendered_pixels, usage.peak_memory, usage.gpu_hours)


def defense_cost(train_run: str) -> DefenseCost:
    """Return what the run of the defense says it cost."""
    try:
        summary = RunFolder(Path(train_run)).summary()
    except UsageError:
        return DefenseCost(None, f"{train_run} is not on this machine")
    seconds, stored = summary.get("seconds"), summary.get("cost")
    if seconds is None:
        return DefenseCost(None, f"{train_run} does not say")
    names = [field.name for field in dataclasses.fields(Usage)]
    usage = None if stored is None else used_resources(Usage(**{name: stored[name] for name in names}))
    return DefenseCost(float(seconds), usage=usage)


def attack_cost(cell: Cell, steps_to_recover: Count | None) -> AttackCost:
    """Return what ``cell`` cost, with the steps that it took to recover."""
    steps = _steps_taken(cell)
    a_step = cell.seconds / max(1, steps)
    return AttackCost(
        seconds=cell.seconds,
        steps=steps,
        samples=None if cell.batch_size is None else steps * cell.batch_size,
        trainable_parameters=cell.trainable_parameters,
        seconds_to_recover=_times(steps_to_recover, a_step),
        usage=None if cell.usage is None else used_resources(cell.usage),
    )


def _steps_taken(cell: Cell) -> int:
    """Return the steps that were taken: one that diverged took fewer than its budget."""
    if not cell.diverged or cell.usage is None or not cell.batch_size:
        return cell.steps
    return cell.usage.samples // cell.batch_size


def _times(count: Count | None, seconds: float) -> Count | None:
    if isinstance(count, Censored):
        return Censored(count.at * seconds)
    return None if count is None else count * seconds
