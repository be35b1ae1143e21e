"""Results as rich tables for the terminal, and the same rows as CSV and JSON.

A table carries all its meaning in characters, so it reads the same without colours, and it fits 100 columns. What is
missing or undefined is printed as ``n/a``; in CSV it is an empty field, in JSON ``null``. Infinity is ``inf``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geotrap_cli.evaluation.bootstrap import CONFIDENCE, Interval, PairedComparison
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.reports.layout import Justify, TextTable

Cell = str | bool | int | float | Censored | Interval | None
Record = dict[str, str | bool | int | float | None]

_LABELS = {
    "foreground_psnr": "foreground PSNR (dB)",
    "white_foreground_psnr": "foreground PSNR of a white image (dB)",
    "psnr": "whole-image PSNR (dB)",
    "ssim": "SSIM",
    "alpha_iou": "alpha IoU",
    "chamfer": "Chamfer to undefended",
    "fscore": "F-score to undefended",
    "lpips": "LPIPS",
    "lpips_custom_trunk": "VGG distance (not LPIPS: other trunk weights)",
}


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of one attack at one checkpoint, defended against undefended, on ``split`` (target or source)."""

    attack: str
    split: str
    metric: str
    step: int
    values: PairedComparison

    def record(self) -> Record:
        """Return the row as flat fields."""
        flat: Record = {"attack": self.attack, "split": self.split, "metric": self.metric, "step": self.step}
        for name in ("undefended", "defended", "difference", "ratio"):
            interval: Interval = getattr(self.values, name)
            flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat | {"groups": self.values.defended.groups}


@dataclass(frozen=True)
class SensitivityRow:
    """How much more a unit matters to target than to source: gradient-norm ratios of each loss.

    Attributes:
        unit: Name of the unit.
        ratios: Target ÷ source for each loss; a value of NaN is undefined.
        geometric_mean: Over the losses.
        lora_reach: Whether the configured adapter trains any module of the unit.
        block_without_attention: Whether the unit lies in a block that has no attention.
    """

    unit: str
    ratios: Mapping[str, Interval]
    geometric_mean: Interval
    lora_reach: bool
    block_without_attention: bool

    @property
    def holds_one(self) -> bool | None:
        """Whether the interval of the geometric mean contains 1, "alike"; None where there is no interval."""
        low, high = self.geometric_mean.low, self.geometric_mean.high
        return None if low is None or high is None else low <= 1 <= high

    def record(self) -> Record:
        """Return the row as flat fields."""
        flat: Record = {"unit": self.unit}
        named = {f"ratio_{loss}": ratio for loss, ratio in self.ratios.items()}
        for name, ratio in (named | {"geometric_mean": self.geometric_mean}).items():
            flat |= {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
        return flat | {
            "holds_one": self.holds_one,
            "lora_reach": self.lora_reach,
            "block_without_attention": self.block_without_attention,
        }


def metric_label(metric: str) -> str:
    """Return the name of a metric as readers know it, with its unit."""
    return _LABELS.get(metric, metric)


def format_number(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    """Return a number with fixed decimals, ``n/a`` for what is missing or undefined, ``inf`` for infinity."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:{'+' if sign else ''}.{decimals}f}"


def format_interval(interval: Interval, decimals: int = 2, sign: bool = False) -> str:
    """Return ``value [low, high]``, or the value alone where there is no interval."""
    value = format_number(interval.value, decimals, sign)
    if interval.low is None or interval.high is None:
        return value
    low, high = (format_number(bound, decimals, sign) for bound in (interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def sensitivity_table(
    rows: Sequence[SensitivityRow],
    title: str = "Sensitivity, target ÷ source",
    *,
    beside: Mapping[str, Sequence[float]] | None = None,
    note: str = "",
) -> TextTable:
    """Return the units in the given order with their rank, interval, a column per loss, and what an adapter reaches.

    One loss needs no geometric mean: its own column holds the interval.

    Args:
        rows: The units.
        title: Above the table.
        beside: Further columns by name, one value a unit.
        note: Further words below the table.
    """
    losses = list(dict.fromkeys(loss for row in rows for loss in row.ratios))
    apart, further = losses if len(losses) != 1 else [], dict(beside or {})
    columns: dict[str, Justify] = {
        "#": "right",
        "unit": "left",
        "geo. mean" if len(losses) != 1 else losses[0]: "left",
        **dict.fromkeys([*apart, *further], "right"),
        "LoRA\nreach": "center",
        "no\nattn": "center",
    }
    lines = [
        [str(rank), *_sensitivity_line(row, apart, [values[rank - 1] for values in further.values()])]
        for rank, row in enumerate(rows, start=1)
    ]
    mark = f"~ the {CONFIDENCE:.0%} bootstrap interval over object groups contains 1"
    caption = f"{mark} · no attn: in a block without attention"
    return TextTable(title, columns, lines, "\n".join([caption, note] if note else [caption]))


def _sensitivity_line(row: SensitivityRow, apart: Sequence[str], further: Sequence[float]) -> list[str]:
    combined = format_interval(row.geometric_mean) + (" ~" if row.holds_one else "")
    ratios = [format_number(row.ratios[loss].value) if loss in row.ratios else "n/a" for loss in apart]
    others = ["n/a" if math.isnan(value) else f"{value:.3g}" for value in further]
    return [row.unit, combined, *ratios, *others, _yes_no(row.lora_reach), _yes_no(row.block_without_attention)]


def records_table(title: str, records: Sequence[Mapping[str, Cell]], caption: str = "") -> TextTable:
    """Return one line per record under the union of their keys; columns of numbers are right-aligned."""
    names = list(dict.fromkeys(key for record in records for key in record))
    columns: dict[str, Justify] = {
        name: "left" if any(isinstance(record.get(name), str) for record in records) else "right" for name in names
    }
    return TextTable(title, columns, [[format_cell(record.get(name)) for name in names] for record in records], caption)


def format_cell(value: Cell) -> str:
    """Return a cell's text; a fraction gets three decimals below 1 and two from there on."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return _yes_no(value)
    if isinstance(value, Interval):
        return format_interval(value)
    if isinstance(value, float):
        return format_number(value, 2 if abs(value) >= 1 or value == 0 else 3)
    return str(value)


def to_csv(records: Sequence[Mapping[str, str | bool | int | float | None]]) -> str:
    """Return records as CSV with a header; undefined values are empty fields."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in record.items()} for record in records)
    return text.getvalue()


def to_json(records: Sequence[Mapping[str, str | bool | int | float | None]]) -> str:
    """Return records as a JSON array; undefined values are ``null`` and infinities strings, as JSON has neither."""
    plain = [{key: _json_value(value) for key, value in record.items()} for record in records]
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def _csv_value(value: str | bool | int | float | None) -> str | bool | int | float | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _json_value(value: str | bool | int | float | None) -> str | bool | int | float | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
