"""The same attack on both sets of weights, checked to be comparable object by object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED, Cell, read_cell
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
    """

    undefended: Cell
    defended: Cell
    run: Path

    @property
    def method(self) -> str:
        """Key of the attack."""
        return self.defended.method

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
        """Return the cell of ``undefended`` or ``defended``."""
        return self.undefended if subject == UNDEFENDED else self.defended

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
    cells = {subject: read_cell(run / CELLS / f"{method}-{subject}.json") for subject in (UNDEFENDED, DEFENDED)}
    pair = AttackPair(cells[UNDEFENDED], cells[DEFENDED], run)
    problem = _budget_problem(pair) or _objects_problem(pair)
    if problem:
        hint = f"attack both sets of weights in one run: geotrap attack {method}"
        raise UsageError(f"the two cells of {method} in {run} are not a pair: {problem}", hint=hint)
    return pair


def comparable(first: AttackPair, second: AttackPair) -> bool:
    """Whether two attacks were measured on the same target objects and views, so that their numbers share a scale."""
    scores = [pair.scores(UNDEFENDED, "target", pair.steps[0]) or [] for pair in (first, second)]
    return _difference(scores[0], scores[1]) is None


def _budget_problem(pair: AttackPair) -> str | None:
    undefended, defended = pair.undefended, pair.defended
    for name in ("steps", "seed"):
        values = (getattr(undefended, name), getattr(defended, name))
        if values[0] != values[1]:
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


def _difference(first: Sequence[ObjectScore], second: Sequence[ObjectScore]) -> str | None:
    """Return in words how two sets of scores, in the order of the ids, are not of the same objects and views."""
    names: list[Mapping[str, str]] = [{score.id: score.group for score in scores} for scores in (first, second)]
    differing = sorted(set(names[0].items()) ^ set(names[1].items()))
    if differing:
        return f"object {differing[0][0]!r} is not in both"
    for one, other in zip(first, second, strict=True):
        if one.metrics.keys() != other.metrics.keys() or not {HEADLINE, FLOOR} <= one.metrics.keys():
            return f"object {one.id!r} has other metrics"
        if not _close(one.metrics[FLOOR], other.metrics[FLOOR]):
            return f"object {one.id!r} was measured in other views"
    return None


def _close(first: float, second: float) -> bool:
    both_undefined = math.isnan(first) and math.isnan(second)
    return first == second or both_undefined or abs(first - second) <= _SAME_VIEWS_DB
