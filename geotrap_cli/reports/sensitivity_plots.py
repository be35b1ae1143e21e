"""Figures of a layer analysis: bars with intervals, and a heat map of units and losses.

Reached and unreached units differ in colour and in hatching, so that the bars also read in grey. Scales are
logarithmic: a ratio of 2 and one of 1/2 are equally far from 1, where target and source are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotrap_cli.errors import GeotrapError
from geotrap_cli.reports.plots import GUIDE, figure_file, round_numbers
from geotrap_cli.reports.tables import SensitivityRow, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

REACHED, UNREACHED = "#E69F00", "#0072B2"
TITLE = "Sensitivity, target ÷ source"
_ROW_INCHES = 0.22
_SMALLEST_SPAN = 1.25


def sensitivity_bars(rows: Sequence[SensitivityRow], path: str | Path, *, title: str = TITLE) -> None:
    """Draw each unit's ratio over all losses with its interval, first row on top, with a line at 1.

    Undefined ratios are marked ``n/a``, ratios of zero ``0``: a logarithmic axis has no place for them.

    Raises:
        GeotrapError: No rows, or a negative ratio.
        UsageError: A suffix other than ``.png`` and ``.svg``.
    """
    _check(rows)
    with figure_file(path, (7.5, 1.3 + len(rows) * _ROW_INCHES)) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        for position, row in enumerate(rows):
            _draw_bar(axes, row, position)
        axes.axvline(1.0, color=GUIDE, linewidth=1)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        _plain_ticks(axes)
        _name_rows(axes, rows)
        figure.suptitle(title, fontsize=10)
        losses = list(rows[0].ratios)
        of = f"geometric mean over {', '.join(losses)}" if len(losses) > 1 else losses[0]
        axes.set_xlabel(f"gradient norm on target ÷ on source\n{of}")
        axes.legend(handles=_legend(), frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def sensitivity_heat(rows: Sequence[SensitivityRow], path: str | Path, *, title: str = TITLE) -> None:
    """Draw the ratio of each unit (rows, first on top) for each loss (columns), with the figure in each cell.

    Raises:
        GeotrapError: No rows, or a negative ratio.
        UsageError: A suffix other than ``.png`` and ``.svg``.
    """
    _check(rows)
    losses = list(rows[0].ratios)
    values = [[row.ratios[loss].value for loss in losses] for row in rows]
    logs = [[math.log2(value) if 0 < value < math.inf else math.nan for value in line] for line in values]
    limit = max([abs(value) for line in logs for value in line if not math.isnan(value)] + [math.log2(_SMALLEST_SPAN)])
    with figure_file(path, (4.2 + 0.75 * len(losses), 1.3 + len(rows) * _ROW_INCHES)) as figure:
        axes = figure.subplots()
        axes.set_facecolor("#DDDDDD")
        axes.imshow(logs, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in ((cell, values[cell[0]][cell[1]]) for cell in _cells(len(rows), len(losses))):
            # White on the dark ends of the scale.
            dark = abs(logs[row][column]) > 0.65 * limit
            colour = "white" if dark else "black"
            axes.text(column, row, format_number(value), ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(losses)), losses)
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0)
        axes.spines[:].set_visible(False)
        _name_rows(axes, rows)
        figure.suptitle(title.replace(": ", "\n", 1), fontsize=10)


def _check(rows: Sequence[SensitivityRow]) -> None:
    if not rows or not rows[0].ratios:
        raise GeotrapError("a sensitivity figure needs at least one unit and one loss")
    for row in rows:
        for loss, ratio in row.ratios.items():
            if ratio.value < 0:
                raise GeotrapError(f"the sensitivity ratio of {row.unit} for {loss} is {ratio.value}, less than zero")


def _draw_bar(axes: Axes, row: SensitivityRow, position: int) -> None:
    ratio = row.geometric_mean
    if not 0 < ratio.value < math.inf:
        text = "0" if ratio.value == 0 else format_number(ratio.value)
        axes.annotate(text, (1.0, position), (3, 0), textcoords="offset points", va="center", fontsize=7, color=GUIDE)
        return
    style = _style(row.lora_reach)
    # From 1, not from 0: on a logarithmic axis the bar's length is the distance from "alike".
    axes.barh(position, ratio.value - 1.0, left=1.0, height=0.7, **style)
    if ratio.low is not None and ratio.high is not None and ratio.low > 0:
        axes.plot([ratio.low, ratio.high], [position, position], color="black", linewidth=0.9, solid_capstyle="butt")


def _style(reached: bool) -> dict[str, Any]:
    return {
        "facecolor": REACHED if reached else UNREACHED,
        "edgecolor": "white",
        "linewidth": 0,
        "hatch": "////" if reached else None,
    }


def _legend() -> list[Patch]:
    from matplotlib.patches import Patch

    names = {True: "the LoRA adapter reaches it", False: "it does not"}
    return [Patch(label=name, **_style(reached)) for reached, name in names.items()]


def _name_rows(axes: Axes, rows: Sequence[SensitivityRow]) -> None:
    axes.set_yticks(range(len(rows)), [row.unit for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _plain_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    label_log_axis(axes, min(low, 1 / _SMALLEST_SPAN), max(high, _SMALLEST_SPAN))


def label_log_axis(axes: Axes, low: float, high: float) -> None:
    """Let the logarithmic horizontal axis run from ``low`` to ``high``, with round plain numbers on it."""
    span = high / low
    leading = (1,) if span > 300 else (1, 2, 5) if span > 6 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    ticks = [tick for tick in round_numbers(leading) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)


def _cells(rows: int, columns: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(rows) for column in range(columns)]
