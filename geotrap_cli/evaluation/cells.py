"""One cell of the attack grid on disk: one attack on one set of weights, with the scores along the way.

A cell is a JSON file. JSON knows neither infinity (the PSNR of a perfect image) nor NaN (a measurement that failed), so
both are written as strings and come back as what they were.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from geotrap_cli.atomic import write_json
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.geometry import GeometryState
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.usage import Usage

UNDEFENDED, DEFENDED = "undefended", "defended"
SUBJECTS = (UNDEFENDED, DEFENDED)
SCRATCH, DISTILL, NOISE = REFERENCES = ("scratch", "distill", "noise")
"""Weights to compare with: random ones, the undefended ones distilled without any trap, and the undefended ones with as
much noise in each unit as the defense moved it."""
BENIGN = {UNDEFENDED: "benign_undefended", DEFENDED: "benign_defended"}
CONTROLS = (*REFERENCES, *BENIGN.values())
"""What a pair may be accompanied by: the attack on reference weights, and the same fine-tuning on benign objects."""
TRIALS = {UNDEFENDED: "trial_undefended", DEFENDED: "trial_defended"}
"""Trials of a search for the best setting of an attack, measured on the attacker's own held-out objects."""
ORIGINS = {name: subject for kinds in (BENIGN, TRIALS) for subject, name in kinds.items()}
"""Whose weights the benign controls and the trials attack."""


@dataclass(frozen=True)
class CellEvaluation:
    """The scores after ``step`` attack steps.

    Attributes:
        step: Number of steps, 0 for the weights before the attack.
        target: Scores of target objects.
        source: Scores of source objects; None where only target objects were measured.
        geometry: State of the Gaussians of the target objects; None where it was not measured, as between the first
            and the last evaluation.
    """

    step: int
    target: list[ObjectScore]
    source: list[ObjectScore] | None
    geometry: GeometryState | None = None


@dataclass(frozen=True)
class Cell:
    """One attack on one set of weights.

    Attributes:
        method: Name of the attack's variant: its key, or ``<key>-<variant>`` for one of a sweep.
        subject: ``undefended`` or ``defended``; in a control the name of the reference weights, or ``benign_...`` with
            benign objects in the place of target objects; ``trial_...`` with the attacker's own held-out objects.
        steps: Budget, optimizer steps; an attack that diverged has its last evaluation before that.
        seed: Seed of the attacker's batches.
        evaluations: Scores along the way, in the order of the steps.
        health: What the attack looked like from inside; None when it was not recorded.
        seconds: Duration.
        trainable_parameters: Number of trained values.
        first_loss: The attacker's loss at the start; None when no step was taken.
        last_loss: The attacker's loss at the end; None when no step was taken.
        family: Key of the attack, where ``method`` is one variant of several; empty stands for the method itself.
        settings: Digest of everything but weights and seed that the scores depend on; empty in old runs.
        batch_size: Objects in a step; None in old runs.
        usage: What it took, evaluations included; None in old runs.
    """

    method: str
    subject: str
    steps: int
    seed: int
    evaluations: list[CellEvaluation]
    health: AttackHealth | None
    seconds: float
    trainable_parameters: int
    first_loss: float | None
    last_loss: float | None
    family: str = ""
    settings: str = ""
    batch_size: int | None = None
    usage: Usage | None = None

    @property
    def key(self) -> str:
        """Key of the attack."""
        return self.family or self.method

    @property
    def diverged(self) -> bool:
        """Whether the attack ended early by a loss or a gradient that is not finite."""
        return self.health is not None and bool(self.health.nonfinite)


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write ``cell`` to ``<folder>/<method>-<subject>.json``, atomically, and return that path."""
    path = _path(folder, cell.method, cell.subject)
    write_json(path, strict_json(dataclasses.asdict(cell)))
    return path


def read_cell(path: Path) -> Cell:
    """Read one cell.

    Raises:
        UsageError: The file is missing or holds no cell.
    """
    try:
        cell: Cell = TypeAdapter(Cell).validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="see `geotrap runs`") from error
    except ValidationError as error:
        raise _broken(path, _first_problem(error)) from error
    problem = _misplaced(cell, path) or inconsistency(cell)
    if problem:
        raise _broken(path, problem)
    return cell


def has_cell(folder: Path, method: str, subject: str) -> bool:
    """Whether the cell was written."""
    return _path(folder, method, subject).is_file()


def strict_json(value: Any) -> Any:
    """Return ``value`` with infinities and NaN as the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(value, dict):
        return {key: strict_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _path(folder: Path, method: str, subject: str) -> Path:
    return folder / f"{method}-{subject}.json"


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _misplaced(cell: Cell, path: Path) -> str | None:
    known = (*SUBJECTS, *CONTROLS, *TRIALS.values())
    if path.name != f"{cell.method}-{cell.subject}.json" or cell.subject not in known:
        return f"it holds the attack {cell.method!r} on {cell.subject!r} weights"
    return None


def inconsistency(cell: Cell) -> str | None:
    """Return in words what cannot be true of a cell, None where nothing speaks against it."""
    steps = [evaluation.step for evaluation in cell.evaluations]
    if not steps:
        return "it was never evaluated"
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        return f"its evaluations are not in the order of the steps: {steps}"
    for evaluation in cell.evaluations:
        ids = [score.id for score in [*evaluation.target, *(evaluation.source or ())]]
        if not evaluation.target or len(set(ids)) < len(ids):
            return f"at step {evaluation.step}, an object appears twice, or none does"
    return None


def _broken(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} is not a cell of an attack run: {problem}", hint="repeat it with `geotrap attack`")
