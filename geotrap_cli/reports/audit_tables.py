"""The tables of the trap audit, readable in 80 columns; what was not measured says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from geotrap_cli.evaluation.audit import (
    GRADIENT_DEFENDED,
    GRADIENT_UNDEFENDED,
    TOP,
    WEIGHT_CHANGE,
    EnergyShares,
    TrapAudit,
    TrapDepths,
)
from geotrap_cli.evaluation.geometry import GeometryState, Quantiles, States
from geotrap_cli.evaluation.saturation import ANY, CULLED, FLAT
from geotrap_cli.reports.layout import Justify, TextTable

NOT_MEASURED = "not measured"

_MEDIANS = {
    "dis-\ntance": "centroid_distance",
    "opacity": "opacity",
    "scale": "largest_scale",
    "aniso-\ntropy": "anisotropy",
    "align-\nment": "axis_alignment",
    "colour": "color_distance",
}
_STUCK = {
    CULLED: "culled",
    "position": "position\nflat",
    "opacity": "opacity\nflat",
    "scale": "scale\nflat",
    "color": "colour\nflat",
    ANY: "any",
}
_SHORTCUTS = {
    GRADIENT_UNDEFENDED: "gradient, undefended",
    GRADIENT_DEFENDED: "gradient, defended",
    WEIGHT_CHANGE: "change of the weights",
}
_SHOWN_TENSORS = 3


def audit_tables(audit: TrapAudit, states: States) -> list[TextTable]:
    """Return all tables of an audit, with the geometry of ``states``."""
    return [
        depth_table(audit.depths),
        *state_tables(states),
        drift_table(audit.source_drift, audit.source_drift_by_attribute),
        shortcut_table(audit.shortcut),
    ]


def state_tables(states: States) -> list[TextTable]:
    """Return the tables that have a line for each state of the geometry."""
    return [geometry_table(states), saturation_table(states)]


def depth_table(depths: Sequence[TrapDepths]) -> TextTable:
    """Return how deep each trap is, three ways."""
    columns: dict[str, Justify] = {"trap": "left", **dict.fromkeys(("undefended", "defended"), "right")}
    columns |= {"opacity-weighted": "right", "relative": "right"}
    rows = [
        [depth.trap, *(_number(value) for value in (depth.undefended, depth.defended, depth.visible, depth.relative))]
        for depth in depths
    ]
    caption = "more negative is deeper; opacity-weighted: defended, as far as it can be seen"
    return TextTable("Trap depth on held-out target objects", columns, rows, caption)


def geometry_table(states: States) -> TextTable:
    """Return the median of each attribute over the Gaussians of target objects, all of them and those that are seen."""
    columns: dict[str, Justify] = {"medians": "left", **dict.fromkeys(_MEDIANS, "right")}
    rows = [row for name, state in states.items() for row in _geometry_rows(name, state)]
    caption = (
        "distance from the centroid; largest scale; largest ÷ smallest scale; |cos| to the object's main axis; "
        "distance from its mean colour; as seen: weighted by opacity"
    )
    return TextTable("Geometry on held-out target objects", columns, rows, caption)


def saturation_table(states: States) -> TextTable:
    """Return the share of the Gaussians of target objects that rendering can hardly move, a line for each state."""
    columns: dict[str, Justify] = {"share": "left", **dict.fromkeys(_STUCK.values(), "right")}
    rows = [row for name, state in states.items() for row in _saturation_rows(name, state)]
    caption = f"culled: opacity below 1/255; flat: slope below {FLAT:.0%} of the activation's largest; any of these"
    return TextTable("Gaussians of target objects that rendering hardly moves", columns, rows, caption)


def drift_table(drift: float, by_attribute: Mapping[str, float]) -> TextTable:
    """Return how far source outputs moved, by attribute."""
    columns: dict[str, Justify] = {"": "left", **dict.fromkeys(by_attribute, "right"), "all channels": "right"}
    row = ["mean change", *(_number(value, 4) for value in by_attribute.values()), _number(drift, 4)]
    caption = "quats: angle in radians; the others in their own unit"
    return TextTable("Drift of held-out source objects", columns, [row], caption)


def shortcut_table(shortcut: Mapping[str, EnergyShares | None]) -> TextTable:
    """Return how much of the traps' gradient, and of the change of the weights, lies in a few tensors."""
    columns: dict[str, Justify] = {"share of": "left", **{f"top {count}": "right" for count in TOP}, "tensors": "right"}
    rows, names = [], []
    for key, label in _SHORTCUTS.items():
        shares = shortcut.get(key)
        rows.append([label, *(_shares(shares) if shares else [NOT_MEASURED, *[""] * (len(columns) - 2)])])
        names += [f"{label}: {_largest(shares)}"] if shares else []
    caption = "\n".join(["squared norms over all tensors; * not trained by the defense", *names])
    return TextTable("Shortcut check: the tensors that the traps rest on", columns, rows, caption)


def _geometry_rows(name: str, state: GeometryState | None) -> list[list[str]]:
    if state is None:
        return _missing(name, len(_MEDIANS))
    found = [state.distributions[attribute] for attribute in _MEDIANS.values()]
    everything = [name, *(_median(item.quantiles) for item in found)]
    if not state.seen:
        return [everything, [f"  seen: {NOT_MEASURED}", *[""] * len(found)]]
    return [everything, ["  as seen", *(_median(item.visible_quantiles) for item in found)]]


def _saturation_rows(name: str, state: GeometryState | None) -> list[list[str]]:
    if state is None:
        return _missing(name, len(_STUCK))
    return [[name, *(f"{state.saturation[key]:.1%}" for key in _STUCK)]]


def _missing(name: str, cells: int) -> list[list[str]]:
    """Return two lines that say of a whole state that it was not measured, and make no column wider."""
    return [[name, *[""] * cells], [f"  {NOT_MEASURED}", *[""] * cells]]


def _shares(shares: EnergyShares) -> list[str]:
    return [*(f"{share:.0%}" for share in shares.top.values()), str(shares.tensors)]


def _largest(shares: EnergyShares) -> str:
    shown = shares.largest[:_SHOWN_TENSORS]
    return ", ".join(f"{tensor.name}{'' if tensor.trained else ' *'} {tensor.share:.0%}" for tensor in shown)


def _median(quantiles: Quantiles) -> str:
    """Three significant digits: attributes run over many decades."""
    value = quantiles["p50"]
    return NOT_MEASURED if value is None or math.isnan(value) else f"{value:.3g}"


def _number(value: float | None, decimals: int = 2) -> str:
    return NOT_MEASURED if value is None or math.isnan(value) else f"{value:.{decimals}f}"
