"""What both sides pay: the defense for its training, each attacker for its steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.run_folder import RunFolder


@dataclass(frozen=True)
class DefenseCost:
    """The cost of the defense.

    Attributes:
        seconds: Duration of its optimisation; None where that is not known.
        missing: Why it is not.
    """

    seconds: float | None
    missing: str | None = None


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
    """

    seconds: float
    steps: int
    samples: int | None
    trainable_parameters: int
    seconds_to_recover: Count | None


def defense_cost(train_run: str) -> DefenseCost:
    """Return what the run of the defense says it cost."""
    try:
        seconds = RunFolder(Path(train_run)).summary().get("seconds")
    except UsageError:
        return DefenseCost(None, f"{train_run} is not on this machine")
    return DefenseCost(float(seconds)) if seconds is not None else DefenseCost(None, f"{train_run} does not say")


def attack_cost(cell: Cell, steps_to_recover: Count | None) -> AttackCost:
    """Return what ``cell`` cost, with the steps that it took to recover."""
    a_step = cell.seconds / max(1, cell.steps)
    return AttackCost(
        seconds=cell.seconds,
        steps=cell.steps,
        samples=None if cell.batch_size is None else cell.steps * cell.batch_size,
        trainable_parameters=cell.trainable_parameters,
        seconds_to_recover=_times(steps_to_recover, a_step),
    )


def _times(count: Count | None, seconds: float) -> Count | None:
    if isinstance(count, Censored):
        return Censored(count.at * seconds)
    return None if count is None else count * seconds
