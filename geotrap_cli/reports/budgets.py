"""Attack by budget: what each attack recovers within a number of steps, as the rows of a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geotrap_cli.evaluation.cells import DEFENDED
from geotrap_cli.reports.judgement import JudgedAttack


@dataclass(frozen=True)
class BudgetRow:
    """The best recovery of one attack, over all its trials, within each budget; None where no trial went that far."""

    attack: str
    trials: list[str]
    recovery: list[float | None]


@dataclass(frozen=True)
class BudgetMap:
    """All attacks, the one that recovers most first, against the steps at which any of them was evaluated."""

    budgets: list[int]
    rows: list[BudgetRow]


def budget_map(attacks: Sequence[JudgedAttack]) -> BudgetMap:
    """Return the map of ``attacks``; trials that differ by seed, budget or settings share the row of their method."""
    by_method: dict[str, list[JudgedAttack]] = {}
    for attack in attacks:
        by_method.setdefault(attack.method, []).append(attack)
    budgets = sorted({step for attack in attacks for step in attack.pair.own_steps(DEFENDED) if step > 0})
    rows = [
        BudgetRow(method, [trial.label for trial in trials], [_best(trials, budget) for budget in budgets])
        for method, trials in by_method.items()
    ]
    return BudgetMap(budgets, rows)


def _best(trials: Sequence[JudgedAttack], budget: int) -> float | None:
    """Return the largest recovery at or before ``budget`` of those trials whose own budget reaches it."""
    reached = [
        point.value
        for trial in trials
        if trial.pair.own_steps(DEFENDED)[-1] >= budget
        for step, point in zip(trial.pair.own_steps(DEFENDED), trial.statistics.recovery[DEFENDED], strict=True)
        if step <= budget
    ]
    if not reached:
        return None
    return math.nan if any(math.isnan(value) for value in reached) else max(reached)
