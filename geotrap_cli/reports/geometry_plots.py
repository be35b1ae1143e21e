"""A picture of how the Gaussians of target objects are distributed: a panel for each attribute, a ridge for each state.

A filled ridge counts every Gaussian. The line counts what can be seen of them: their opacities are its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.attributes import ATTRIBUTES
from geotrap_cli.evaluation.cells import DEFENDED
from geotrap_cli.evaluation.geometry import Distribution, States
from geotrap_cli.render.base import MIN_ALPHA
from geotrap_cli.reports import plots
from geotrap_cli.reports.plots import GUIDE, figure_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

GEOMETRY = "geometry.png"
GEOMETRY_TITLE = "Gaussians of held-out target objects"
_COLUMNS = 3
_ROW_INCHES, _PANEL_INCHES = 0.34, 3.0
_TALLEST = 0.86
"""Height of a ridge against the distance of two."""
_SHOWN_SHARE = 1e-3
"""An axis reaches as far as bins with more than this share go."""
_ODDS = (1e-6, 1e-4, 1e-2, 0.5, 0.99, 0.9999)
_SEEN = "#222222"


def geometry_picture(states: States, path: str | Path, *, title: str = GEOMETRY_TITLE) -> None:
    """Draw the distribution of every attribute, states from top to bottom in the given order.

    Args:
        states: By what they are of; a name that ends in ``defended`` has the colour of that side. None is drawn as
            "not measured".
        path: A ``.png`` or ``.svg`` file.
        title: Above the picture.

    Raises:
        GeotrapError: Nothing was measured.
        UsageError: Another file suffix.
    """
    if not any(states.values()):
        raise GeotrapError("a picture of the geometry needs at least one state that was measured")
    rows = -(-len(ATTRIBUTES) // _COLUMNS)
    height = 1.0 + len(states) * _ROW_INCHES
    with figure_file(path, (1.6 + _COLUMNS * _PANEL_INCHES, 0.9 + rows * height)) as figure:
        grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
        for axes, attribute in zip(grid.flat, ATTRIBUTES, strict=True):
            _draw_panel(axes, attribute, states)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)


def _draw_panel(axes: Axes, attribute: str, states: States) -> None:
    found = [state.distributions[attribute] for state in states.values() if state is not None]
    axes.set_title(ATTRIBUTES[attribute].label)
    axes.set_xscale(ATTRIBUTES[attribute].spacing)
    axes.set_xlim(*_reach(found))
    axes.set_yticks([-place for place in range(len(states))], list(states))
    axes.set_ylim(-len(states) + 0.75, 1.0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place, (name, state) in enumerate(states.items()):
        if state is None:
            where = axes.get_yaxis_transform()
            axes.text(0.5, -place + 0.1, "not measured", transform=where, ha="center", color=GUIDE, fontsize=8)
        else:
            _draw_ridge(axes, state.distributions[attribute], -place, colour_of(name))
    if attribute == "opacity":
        _mark_culled(axes)


def colour_of(name: str) -> str:
    """Return the colour of a state by the side its name ends in."""
    return plots.DEFENDED if name.split()[-1] == DEFENDED else plots.UNDEFENDED


def _draw_ridge(axes: Axes, found: Distribution, base: float, colour: str) -> None:
    shares = np.array(found.shares)
    axes.axhline(base, color="#CCCCCC", linewidth=0.6, zorder=0)
    if shares.any():
        axes.stairs(_ridge(shares, base), found.edges, baseline=base, fill=True, color=colour, alpha=0.55)
    if found.visible is not None and any(found.visible):
        # Without a baseline, so that no line runs down where the axis ends.
        axes.stairs(_ridge(np.array(found.visible), base), found.edges, baseline=None, color=_SEEN, linewidth=0.9)
    median = found.quantiles["p50"]
    if median is not None:
        axes.plot([median, median], [base - 0.1, base + 0.14], color=colour, linewidth=2.2, solid_capstyle="butt")


def _ridge(shares: np.ndarray, base: float) -> np.ndarray:
    """Return heights; a root keeps what is rare in sight beside a peak of one bin."""
    return base + _TALLEST * np.sqrt(shares / shares.max())


def _reach(found: Sequence[Distribution]) -> tuple[float, float]:
    """Return the limits of an axis: all bins that hold more than a trace in any of the states."""
    layers = [np.array(layer) for item in found for layer in (item.shares, item.visible) if layer is not None]
    held = np.flatnonzero(np.max(layers, axis=0) > _SHOWN_SHARE)
    edges = found[0].edges
    if not len(held):
        return edges[0], edges[-1]
    # One empty bin at each side keeps ridges off the frame.
    return edges[max(0, held[0] - 1)], edges[min(len(edges) - 1, held[-1] + 2)]


def _mark_culled(axes: Axes) -> None:
    low, high = axes.get_xlim()
    ticks = [tick for tick in _ODDS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    if low < MIN_ALPHA < high:
        axes.axvline(MIN_ALPHA, color=GUIDE, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
        where = axes.get_xaxis_transform()
        axes.text(MIN_ALPHA, 1.01, "culled ", transform=where, ha="right", va="bottom", color=GUIDE, fontsize=8)


def _legend() -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=GUIDE, alpha=0.55, label="all Gaussians (height: root of the share)"),
        Line2D([], [], color=_SEEN, linewidth=0.9, label="weighted by opacity: what can be seen"),
        Line2D([], [], color=GUIDE, linewidth=2.2, label="median of all"),
    ]
