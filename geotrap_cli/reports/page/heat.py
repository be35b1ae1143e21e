"""The heat map of the page: recovery by attack and budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geotrap_cli.reports.comparison import Comparison


@dataclass(frozen=True)
class HeatCell:
    """A text, and how much of the scale it is, 0 to 100; None where there is no number."""

    text: str
    percent: int | None


@dataclass(frozen=True)
class HeatRow:
    """One attack with its trials and a cell for each budget."""

    attack: str
    trials: list[str]
    cells: list[HeatCell]


def heat_rows(comparison: Comparison) -> list[HeatRow]:
    """Return the attacks, the one that recovers most first."""
    return [
        HeatRow(row.attack, row.trials, [_cell(share) for share in row.recovery]) for row in comparison.budgets.rows
    ]


def _cell(share: float | None) -> HeatCell:
    if share is None:
        return HeatCell("not run", None)
    if not math.isfinite(share):
        return HeatCell("n/a", None)
    return HeatCell(f"{share:.0%}", round(100 * min(max(share, 0.0), 1.0)))
