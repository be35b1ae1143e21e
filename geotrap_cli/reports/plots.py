"""Figures of a comparison: recovery curves and sensitivity bars, as PNG or SVG by the file's suffix.

Undefended and defended differ in colour (Okabe and Ito's colour-blind-safe palette), in line style and in marker, and
each curve is labelled where it ends, so that a figure also reads in grey. matplotlib is imported only when something
is drawn.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from geotrap_cli.atomic import atomic_path
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.reports.tables import SensitivityRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNDEFENDED, DEFENDED, GUIDE = "#0072B2", "#D55E00", "#555555"
_BARS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Curve:
    """Quality over attack steps; a value that is not finite leaves a gap. The bounds are an interval, if known."""

    steps: Sequence[int]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class RecoveryPanel:
    """One attack on one split: foreground PSNR of both sets of weights, with the lines that give them meaning."""

    attack: str
    split: str
    undefended: Curve
    defended: Curve
    floor: float | None = None
    ceiling: float | None = None


def recovery_curves(
    panels: Sequence[RecoveryPanel],
    path: str | Path,
    *,
    steps_axis: Literal["linear", "log"] = "linear",
    ylabel: str = "foreground PSNR (dB)",
) -> None:
    """Draw one column per attack and one row per split, each row with one scale.

    Args:
        panels: What to draw; columns and rows appear in the order in which attacks and splits do.
        path: A ``.png`` or ``.svg`` file.
        steps_axis: ``log`` is linear up to the first evaluation, so that step 0 stays on the picture, and
            logarithmic from there on.
        ylabel: The measured quality.

    Raises:
        GeotrapError: No panels, or the same attack and split twice.
        UsageError: Another file suffix.
    """
    attacks = list(dict.fromkeys(panel.attack for panel in panels))
    splits = list(dict.fromkeys(panel.split for panel in panels))
    cells = {(panel.split, panel.attack): panel for panel in panels}
    if not panels or len(cells) < len(panels):
        raise GeotrapError("recovery curves need at least one panel, and one for each attack and split")
    with _figure(path, (0.9 + 3.4 * len(attacks), 0.5 + 2.5 * len(splits))) as figure:
        grid = figure.subplots(len(splits), len(attacks), squeeze=False, sharey="row")
        for row, split in enumerate(splits):
            for column, attack in enumerate(attacks):
                if (split, attack) in cells:
                    _draw_panel(grid[row][column], cells[split, attack], steps_axis)
                else:
                    _draw_missing(grid[row][column], attack, split)
            grid[row][0].set_ylabel(ylabel)


def sensitivity_bars(
    rows: Sequence[SensitivityRow], path: str | Path, *, title: str = "Sensitivity, target ÷ source"
) -> None:
    """Draw the ratio of each trap for each unit, first row on top, with a line at 1 (target and source alike).

    The scale is logarithmic: a ratio of 2 and one of 1/2 are equally far from 1. Undefined ratios are marked ``n/a``.

    Raises:
        GeotrapError: No rows, or a ratio that is not positive.
        UsageError: A suffix other than ``.png`` and ``.svg``.
    """
    traps = list(dict.fromkeys(trap for row in rows for trap in row.ratios))
    if not traps:
        raise GeotrapError("a sensitivity figure needs at least one unit and one trap")
    with _figure(path, (7.5, 1.2 + len(rows) * (0.12 + 0.16 * len(traps)))) as figure:
        axes = figure.subplots()
        for index, trap in enumerate(traps):
            _draw_bars(axes, rows, trap, index, len(traps))
        axes.axvline(1.0, color=GUIDE, linewidth=1)
        axes.set_xscale("log")
        _plain_ratio_ticks(axes)
        axes.set_yticks(range(len(rows)), [f"{row.unit} *" if row.lora_reach else row.unit for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title)
        axes.set_xlabel("gradient norm on target ÷ on source   (* LoRA reaches the unit)")
        if len(traps) > 1:
            figure.legend(frameon=False, loc="outside upper right", ncols=len(traps))


def _draw_missing(axes: Axes, attack: str, split: str) -> None:
    axes.set_title(f"{attack}: {split}")
    axes.set_xticks([])
    axes.text(0.5, 0.5, "not run", ha="center", va="center", transform=axes.transAxes, color=GUIDE)


def _draw_panel(axes: Axes, panel: RecoveryPanel, steps_axis: str) -> None:
    axes.set_title(f"{panel.attack}: {panel.split}")
    axes.set_xlabel("attack steps")
    if steps_axis == "log":
        _set_log_steps(axes, sorted({*panel.undefended.steps, *panel.defended.steps}))
    # Curves run between the two lines, so their names stand outside.
    for value, name, side in ((panel.floor, "white image", -1), (panel.ceiling, "ceiling", 1)):
        if value is not None and math.isfinite(value):
            _draw_guide(axes, value, name, side)
    _draw_curve(axes, panel.undefended, UNDEFENDED, "-", "o")
    _draw_curve(axes, panel.defended, DEFENDED, "--", "s")
    _label_ends(axes, panel)
    axes.margins(y=0.15)


def _draw_curve(axes: Axes, curve: Curve, colour: str, style: str, marker: str) -> None:
    values = [value if math.isfinite(value) else math.nan for value in curve.values]
    axes.plot(curve.steps, values, style, color=colour, marker=marker, markersize=3.5, linewidth=1.6)
    if curve.low is not None and curve.high is not None:
        axes.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def _draw_guide(axes: Axes, value: float, name: str, side: int) -> None:
    axes.axhline(value, color=GUIDE, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        name,
        (0, value),
        (2, 2 * side),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="bottom" if side > 0 else "top",
        color=GUIDE,
        fontsize=8,
    )


def _label_ends(axes: Axes, panel: RecoveryPanel) -> None:
    """Name both curves at the right edge, at the height of their last finite value; apart when that is the same."""
    pairs = ((panel.undefended, "undefended", UNDEFENDED), (panel.defended, "defended", DEFENDED))
    ends = [(end, name, colour) for curve, name, colour in pairs if (end := _last_finite(curve)) is not None]
    ends.sort()
    low, high = axes.get_ylim()
    crowded = len(ends) == 2 and ends[1][0] - ends[0][0] < 0.08 * (high - low)
    for (value, name, colour), shift in zip(ends, (-7, 7) if crowded else (0, 0), strict=False):
        axes.annotate(
            name,
            (1, value),
            (4, shift),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=colour,
        )


def _last_finite(curve: Curve) -> float | None:
    return next((value for value in reversed(curve.values) if math.isfinite(value)), None)


def _set_log_steps(axes: Axes, steps: Sequence[int]) -> None:
    first = next((step for step in steps if step > 0), 1)
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    axes.set_xlim(left=0 if steps[0] == 0 else None)
    ticks = [tick for tick in _round_numbers((1, 2, 5)) if first <= tick <= steps[-1]]
    axes.set_xticks([0, *ticks], [f"{tick:g}" for tick in (0, *ticks)])
    axes.set_xticks([], minor=True)


def _round_numbers(leading: Sequence[float]) -> list[float]:
    return [digit * 10.0**exponent for exponent in range(-6, 10) for digit in leading]


def _draw_bars(axes: Axes, rows: Sequence[SensitivityRow], trap: str, index: int, traps: int) -> None:
    height = 0.8 / traps
    colour = _BARS[index % len(_BARS)]
    label: str | None = trap
    for position, row in enumerate(rows):
        ratio = row.ratios.get(trap)
        center = position - 0.4 + (index + 0.5) * height
        if ratio is None or not math.isfinite(ratio):
            axes.annotate(
                "n/a", (1.0, center), (3, 0), textcoords="offset points", va="center", fontsize=7, color=GUIDE
            )
            continue
        if ratio <= 0:
            raise GeotrapError(f"the sensitivity ratio of {row.unit} for {trap} is {ratio}, not positive")
        # From 1, not from 0: on a logarithmic axis the bar's length is the distance from "alike".
        axes.barh(center, ratio - 1.0, left=1.0, height=height * 0.9, color=colour, label=label)
        label = None


def _plain_ratio_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    low, high = min(low, 0.75), max(high, 1.3)
    leading = (1, 2, 5) if high / low > 6 else (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [tick for tick in _round_numbers(leading) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)


@contextlib.contextmanager
def _figure(path: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield a figure of ``size`` inches and write it atomically; no global matplotlib state is touched."""
    kind = Path(path).suffix.lower()
    if kind not in {".png", ".svg"}:
        raise UsageError(f"a figure cannot be written to {path}", hint="Name a .png or .svg file")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind[1:], dpi=160)
