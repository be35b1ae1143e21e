"""Recovery by attack and budget."""

from __future__ import annotations

from typing import Any

import pytest

from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.attack_runs import select_runs
from geotrap_cli.reports.budgets import BudgetMap
from geotrap_cli.reports.comparison import compare_attacks

STRONG = (18.0, 21.0, 23.0, 24.0, 25.0)


def budgets(runs: Any) -> BudgetMap:
    return compare_attacks(select_runs(CommonOptions(runs=runs.root)), Resampling(0, 10)).budgets


def test_a_budget_counts_the_best_up_to_it(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, (15.0, 18.0, 17.0, 20.0, 19.0)))
    found = budgets(runs)
    assert found.budgets == [25, 50, 75, 100]
    assert found.rows[0].recovery == pytest.approx([0.3, 0.3, 0.5, 0.5])


def test_a_shorter_attack_says_nothing_of_longer_budgets(runs: Any, make_pair: Any) -> None:
    cells = [*make_pair(STRONG, (15.0, 16.0, 16.0, 16.0, 17.0)), *make_pair(STRONG[:3], (15.0, 19.0, 20.0), "short")]
    runs.attack(cells)
    rows = {row.attack: row.recovery for row in budgets(runs).rows}
    assert rows["short"] == [pytest.approx(0.4), pytest.approx(0.5), None, None]
    assert None not in rows["lora"]


def test_seeds_share_a_row_and_nothing_undefined_becomes_a_number(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, (15.0, 16.0, 16.0, 16.0, 17.0)))
    runs.attack(make_pair(STRONG, (15.0, 17.0, float("nan"), 16.0, 16.0), seed=1))
    (row,) = budgets(runs).rows
    assert sorted(row.trials) == ["lora, seed 0", "lora, seed 1"]
    assert row.recovery[0] == pytest.approx(0.2)
    assert all(value != value for value in row.recovery[1:])
