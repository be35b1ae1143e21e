"""Figures of a comparison: recovery curves, as PNG or SVG by the file's suffix.

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNDEFENDED, DEFENDED, GUIDE = "#0072B2", "#D55E00", "#555555"
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
    with figure_file(path, (0.9 + 3.4 * len(attacks), 0.5 + 2.5 * len(splits))) as figure:
        grid = figure.subplots(len(splits), len(attacks), squeeze=False, sharey="row")
        for row, split in enumerate(splits):
            for column, attack in enumerate(attacks):
                if (split, attack) in cells:
                    _draw_panel(grid[row][column], cells[split, attack], steps_axis)
                else:
                    _draw_missing(grid[row][column], attack, split)
            grid[row][0].set_ylabel(ylabel)


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
    ticks = [tick for tick in round_numbers((1, 2, 5)) if first <= tick <= steps[-1]]
    axes.set_xticks([0, *ticks], [f"{tick:g}" for tick in (0, *ticks)])
    axes.set_xticks([], minor=True)


def round_numbers(leading: Sequence[float]) -> list[float]:
    """Return each of ``leading`` times each power of ten, as candidates for ticks."""
    return [digit * 10.0**exponent for exponent in range(-6, 10) for digit in leading]


@contextlib.contextmanager
def figure_file(path: str | Path, size: tuple[float, float]) -> Iterator[Figure]:
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
