"""The same attack on both sets of weights, checked to be comparable object by object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import (
    BENIGN,
    CONTROLS,
    DEFENDED,
    REFERENCES,
    SCRATCH,
    UNDEFENDED,
    Cell,
    has_cell,
    read_cell,
)
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE, ObjectScore

CELLS = "cells"
Split = Literal["target", "source"]
SPLITS: tuple[Split, ...] = ("target", "source")

# A white image depends on the ground truth alone; devices differ by rounding.
_SAME_VIEWS_DB = 0.01


@dataclass(frozen=True)
class AttackPair:
    """One attack on the undefended and on the defended weights.

    Attributes:
        undefended: Its cell on the weights without defense.
        defended: Its cell on the released weights.
        run: The attack run both come from.
        controls: Cells that accompany the pair, by subject.
        created: When that run began, UTC; empty where that is not known.
        runs: Where the cell of a subject was measured, if not in ``run``.
    """

    undefended: Cell
    defended: Cell
    run: Path
    controls: Mapping[str, Cell] = field(default_factory=dict)
    created: str = ""
    runs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Key of the attack."""
        return self.defended.method

    @property
    def identity(self) -> tuple[str, int, str, int]:
        """What tells one trial from another: method, budget, settings and seed."""
        return (*self.series, self.defended.seed)

    @property
    def series(self) -> tuple[str, int, str]:
        """What trials have in common that differ by their seed alone."""
        return self.method, self.defended.steps, self.defended.settings

    @property
    def scratch(self) -> Cell | None:
        """The same attack on random weights, where that control was run."""
        return self.controls.get(SCRATCH)

    @property
    def benign(self) -> AttackPair | None:
        """The same fine-tuning of both sets of weights on benign objects, where that control was run."""
        cells = {subject: self.controls.get(name) for subject, name in BENIGN.items()}
        undefended, defended = cells[UNDEFENDED], cells[DEFENDED]
        return None if undefended is None or defended is None else AttackPair(undefended, defended, self.run)

    @property
    def diverged(self) -> bool:
        """Whether the attack on the defended weights did."""
        return self.defended.diverged

    @property
    def steps(self) -> list[int]:
        """The steps at which both were evaluated; an attack that diverged cuts them short."""
        return min(self.own_steps(UNDEFENDED), self.own_steps(DEFENDED), key=len)

    @property
    def groups(self) -> list[str]:
        """The group of each target object, in the order of the ids."""
        return [score.group for score in self.scores(UNDEFENDED, "target", self.steps[0]) or []]

    def own_steps(self, subject: str) -> list[int]:
        """Return the steps at which one side was evaluated."""
        return [evaluation.step for evaluation in self.cell(subject).evaluations]

    def cell(self, subject: str) -> Cell:
        """Return the cell of ``undefended``, ``defended`` or a control that was run."""
        cells = {UNDEFENDED: self.undefended, DEFENDED: self.defended, **self.controls}
        return cells[subject]

    def folder(self, subject: str) -> Path:
        """Return the run in which the cell of a subject was measured."""
        return self.runs.get(subject, self.run)

    def file(self, subject: str) -> str:
        """Return the file that holds the cell of a subject."""
        return str(self.folder(subject) / CELLS / f"{self.method}-{subject}.json")

    def scores(self, subject: str, split: Split, step: int) -> list[ObjectScore] | None:
        """Return the scores after ``step`` attack steps in the order of the ids; None when not measured."""
        for evaluation in self.cell(subject).evaluations:
            if evaluation.step == step:
                scores: list[ObjectScore] | None = getattr(evaluation, split)
                return None if scores is None else sorted(scores, key=lambda score: score.id)
        return None


def metric_values(scores: Sequence[ObjectScore], metric: str) -> list[float]:
    """Return one metric of every object."""
    return [score.metrics[metric] for score in scores]


def read_pair(run: Path, method: str) -> AttackPair:
    """Read both cells of ``method`` from an attack run and check that they may be compared.

    Raises:
        UsageError: A cell is missing or broken, or the two did not meet the same objects, views, seed or budget.
    """
    folder = run / CELLS
    cells = {subject: read_cell(folder / f"{method}-{subject}.json") for subject in (UNDEFENDED, DEFENDED)}
    controls = {
        name: read_cell(folder / f"{method}-{name}.json") for name in CONTROLS if has_cell(folder, method, name)
    }
    return make_pair(cells | controls, run)


def make_pair(cells: Mapping[str, Cell], run: Path) -> AttackPair:
    """Return the pair that ``cells`` by subject make, with their controls.

    Raises:
        UsageError: They did not meet the same objects, views, seed or budget.
    """
    controls = {name: cell for name, cell in cells.items() if name in CONTROLS}
    pair = AttackPair(cells[UNDEFENDED], cells[DEFENDED], run, controls)
    problem = _budget_problem(pair) or _objects_problem(pair) or _reference_problem(pair)
    if problem is None and pair.benign is not None:
        problem = _budget_problem(pair.benign) or _objects_problem(pair.benign)
    if problem:
        hint = f"attack both sets of weights in one run: geotrap attack {pair.defended.key}"
        raise UsageError(f"the cells of {pair.method} in {run} do not belong together: {problem}", hint=hint)
    return pair


def comparable(first: AttackPair, second: AttackPair) -> bool:
    """Whether two attacks were measured on the same target objects and views, so that their numbers share a scale."""
    scores = [pair.scores(UNDEFENDED, "target", pair.steps[0]) or [] for pair in (first, second)]
    return _difference(scores[0], scores[1], all_metrics=False) is None


def _reference_problem(pair: AttackPair) -> str | None:
    """Return how a control on reference weights differs; the curve of one side may be shorter than that of another."""
    for name in (name for name in REFERENCES if name in pair.controls):
        theirs = pair.scores(name, "target", pair.own_steps(name)[0]) or []
        problem = _difference(pair.scores(UNDEFENDED, "target", 0) or [], theirs)
        if problem is not None:
            return f"{name}: {problem}"
    return None


def _budget_problem(pair: AttackPair) -> str | None:
    undefended, defended = pair.undefended, pair.defended
    for name in ("steps", "seed", "settings"):
        values = (getattr(undefended, name), getattr(defended, name))
        # Old runs do not tell their settings.
        if values[0] != values[1] and "" not in values:
            return f"{name} {values[0]} (undefended) and {values[1]} (defended)"
    evaluated = [pair.own_steps(subject) for subject in (UNDEFENDED, DEFENDED)]
    if evaluated[0][: len(pair.steps)] != evaluated[1][: len(pair.steps)] or pair.steps[:1] != [0]:
        return f"evaluated after {evaluated[0]} (undefended) and {evaluated[1]} (defended) steps"
    return None


def _objects_problem(pair: AttackPair) -> str | None:
    for step in pair.steps:
        for split in SPLITS:
            undefended, defended = (pair.scores(subject, split, step) for subject in (UNDEFENDED, DEFENDED))
            if undefended is None and defended is None:
                continue
            problem = _difference(undefended or [], defended or [])
            if problem:
                return f"{split}, step {step}: {problem}"
    return None


def _difference(first: Sequence[ObjectScore], second: Sequence[ObjectScore], all_metrics: bool = True) -> str | None:
    """Return in words how two sets of scores, in the order of the ids, are not of the same objects and views.

    With ``all_metrics`` they must have the same metrics, too; runs of different age need not.
    """
    names: list[Mapping[str, str]] = [{score.id: score.group for score in scores} for scores in (first, second)]
    differing = sorted(set(names[0].items()) ^ set(names[1].items()))
    if differing:
        return f"object {differing[0][0]!r} is not in both"
    for one, other in zip(first, second, strict=True):
        shared = one.metrics.keys() & other.metrics.keys()
        if not {HEADLINE, FLOOR} <= shared or (all_metrics and one.metrics.keys() != other.metrics.keys()):
            return f"object {one.id!r} has other metrics"
        if not _close(one.metrics[FLOOR], other.metrics[FLOOR]):
            return f"object {one.id!r} was measured in other views"
    return None


def _close(first: float, second: float) -> bool:
    both_undefined = math.isnan(first) and math.isnan(second)
    return first == second or both_undefined or abs(first - second) <= _SAME_VIEWS_DB
