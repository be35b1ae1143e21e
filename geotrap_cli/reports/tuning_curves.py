"""The searches for the best setting of an attack: how the best so far grew with the number of trials."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import UNDEFENDED
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.tables import format_number

TUNING = "tuning.json"


@dataclass(frozen=True)
class TuningPoint:
    """One trial.

    Attributes:
        number: Its place in the search, counted from 0.
        lr: Peak learning rate.
        schedule: Its schedule.
        steps: Budget.
        quality_db: Foreground PSNR on the attacker's held-out objects; None where the trial diverged.
        recovery: That on the scale of the search: 0 a white image, 1 the best trial on the undefended weights; None
            where either is undefined.
        best_so_far: The largest recovery of this trial and those before it.
    """

    number: int
    lr: float
    schedule: str
    steps: int
    quality_db: float | None
    recovery: float | None
    best_so_far: float | None


@dataclass(frozen=True)
class TuningCurve:
    """The trials of one attack on one set of weights.

    Attributes:
        run: The attack run.
        method: The attack.
        weights: ``undefended`` or ``defended``.
        best: Number of the best trial; None where all diverged.
        points: The trials, in order.
    """

    run: str
    method: str
    weights: str
    best: int | None
    points: list[TuningPoint]


def read_tuning(runs: Iterable[Path]) -> list[TuningCurve]:
    """Return the searches of attack runs, none for a run that did not tune or lies on another machine.

    Raises:
        UsageError: The file of a run is damaged.
    """
    curves: list[TuningCurve] = []
    for run in runs:
        file = run / TUNING
        if not file.is_file():
            continue
        try:
            searches = json.loads(file.read_text(encoding="utf-8"))
            ceilings = {one["method"]: _best_quality(one) for one in searches if one["weights"] == UNDEFENDED}
            curves += [_curve(str(run), one, ceilings.get(one["method"])) for one in searches]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{file} holds no searches: {error!r}", "Repeat the attack with --tune") from error
    return curves


def tuning_table(curves: list[TuningCurve]) -> TextTable | None:
    """Return one line a search, with the trials that raised the best so far; None where nothing was tuned."""
    if not curves:
        return None
    columns: dict[str, Justify] = {
        "attack": "left",
        "weights": "left",
        "trials": "right",
        "best (dB)": "right",
        "setting": "left",
        "best so far (trial)": "left",
    }
    caption = "recovery on the attacker's own held-out objects; 100% = the best trial on the undefended weights"
    return TextTable("Search for the best setting", columns, [_row(curve) for curve in curves], caption)


def _row(curve: TuningCurve) -> list[str]:
    best = next((point for point in curve.points if point.number == curve.best), None)
    raised = []
    before: float | None = None
    for point in curve.points:
        if point.best_so_far is not None and (before is None or point.best_so_far > before):
            before = point.best_so_far
            raised.append(f"{before:.0%} ({point.number + 1})")
    setting = "n/a" if best is None else f"lr {best.lr:.2g}, {best.schedule}, {best.steps} steps"
    quality = format_number(None if best is None else best.quality_db)
    return [curve.method, curve.weights, str(len(curve.points)), quality, setting, ", ".join(raised) or "n/a"]


def _best_quality(search: dict[str, Any]) -> float | None:
    return max((trial["quality_db"] for trial in search["trials"] if trial["quality_db"] is not None), default=None)


def _curve(run: str, search: dict[str, Any], ceiling: float | None) -> TuningCurve:
    floor = search["floor_db"]
    span = None if floor is None or ceiling is None or ceiling <= floor else ceiling - floor
    points: list[TuningPoint] = []
    best: float | None = None
    for trial in search["trials"]:
        quality = trial["quality_db"]
        recovery = None if quality is None or span is None else (quality - floor) / span
        if recovery is not None and (best is None or recovery > best):
            best = recovery
        points.append(TuningPoint(**trial, recovery=recovery, best_so_far=best))
    return TuningCurve(run, search["method"], search["weights"], search["best"], points)
