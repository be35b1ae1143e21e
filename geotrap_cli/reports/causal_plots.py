"""Figure of a causal analysis: each score against what the unit is worth to the attacker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.reports.plots import GUIDE, figure_file
from geotrap_cli.reports.sensitivity_plots import REACHED, UNREACHED, label_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 2
_PANEL_INCHES = (4.4, 3.3)
_NAMED_ENDS = 2


@dataclass(frozen=True)
class CausalPoint:
    """One unit: its scores by name, its effect in dB, and whether the adapter reaches it."""

    unit: str
    scores: Mapping[str, float]
    effect: Interval
    reached: bool


def causal_scatter(
    points: Sequence[CausalPoint], path: str | Path, *, captions: Mapping[str, str], title: str, ylabel: str
) -> None:
    """Draw one panel a score, its axis logarithmic, with intervals of the effects; the extremes carry their names.

    Units whose score is not above zero, or whose effect is undefined, have no place on a panel; their number is said.

    Args:
        points: The units.
        path: A ``.png`` or ``.svg`` file.
        captions: For each score to draw, by name, what stands above its panel.
        title: Heading of the figure.
        ylabel: The effect.

    Raises:
        GeotrapError: No points or no scores.
        UsageError: Another file suffix.
    """
    if not points or not captions:
        raise GeotrapError("a causal figure needs at least one unit and one score")
    rows = math.ceil(len(captions) / _COLUMNS)
    columns = min(_COLUMNS, len(captions))
    width, height = _PANEL_INCHES
    with figure_file(path, (columns * width, 0.6 + rows * height)) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, (score, caption) in zip(grid.flat, captions.items(), strict=False):
            _draw_panel(axes, points, score)
            axes.set_title(caption)
        if grid.flat[0].collections:
            grid.flat[0].legend(frameon=False, fontsize=7, loc="upper left")
        for axes in list(grid.flat)[len(captions) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel)
        figure.suptitle(title, fontsize=10)


def _draw_panel(axes: Axes, points: Sequence[CausalPoint], score: str) -> None:
    shown = [p for p in points if 0 < p.scores[score] < math.inf and math.isfinite(p.effect.value)]
    axes.set_xscale("log")
    axes.set_xlabel(score.replace("_", " "))
    axes.axhline(0.0, color=GUIDE, linewidth=0.8)
    for reached, colour, marker in ((True, REACHED, "s"), (False, UNREACHED, "o")):
        chosen = [point for point in shown if point.reached is reached]
        for point in chosen:
            _draw_interval(axes, point.scores[score], point.effect)
        name = "the LoRA adapter reaches it" if reached else "it does not"
        if chosen:
            x, y = [p.scores[score] for p in chosen], [p.effect.value for p in chosen]
            axes.scatter(x, y, s=22, color=colour, marker=marker, label=name, zorder=3)
    axes.margins(x=0.15, y=0.15)
    if shown:
        label_log_axis(axes, *axes.get_xlim())
    _name_extremes(axes, shown, score)
    if len(shown) < len(points):
        text = f"{len(points) - len(shown)} units not shown: no score or no effect"
        axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=7, color=GUIDE)


def _draw_interval(axes: Axes, score: float, effect: Interval) -> None:
    if effect.low is not None and effect.high is not None:
        axes.plot([score, score], [effect.low, effect.high], color="#999999", linewidth=0.8, zorder=2)


def _name_extremes(axes: Axes, shown: Sequence[CausalPoint], score: str) -> None:
    """Name the units with the largest effects, the smallest one, and the highest score."""
    by_effect = sorted(shown, key=lambda point: point.effect.value, reverse=True)
    by_score = sorted(shown, key=lambda point: point.scores[score], reverse=True)
    named = {point.unit: point for point in [*by_effect[:_NAMED_ENDS], *by_effect[-1:], *by_score[:1]]}
    middle = math.sqrt(by_score[0].scores[score] * by_score[-1].scores[score]) if shown else 1.0
    for point in named.values():
        # Towards the middle of the panel, where there is room.
        right = point.scores[score] > middle
        axes.annotate(
            point.unit.removeprefix("unet."),
            (point.scores[score], point.effect.value),
            (-5 if right else 5, 3),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=6.5,
        )
