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
from itertools import groupby

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from geotrap_cli.evaluation.bootstrap import CONFIDENCE, Interval, PairedComparison
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import Verdict

Cell = str | bool | int | float | Censored | Interval | None
Record = dict[str, str | bool | int | float | None]

_LABELS = {
    "foreground_psnr": "foreground PSNR (dB)",
    "white_foreground_psnr": "foreground PSNR of a white image (dB)",
    "psnr": "whole-image PSNR (dB)",
    "ssim": "SSIM",
    "alpha_iou": "alpha IoU",
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


def comparison_table(rows: Sequence[ComparisonRow]) -> RenderableType:
    """Return one table for each (attack, split, metric), in the order of the rows: absolute values at each checkpoint.

    The ratio is defended ÷ undefended, of the means.
    """
    keyed = groupby(rows, key=lambda row: (row.attack, row.split, row.metric))
    blocks = [_checkpoints(key, list(members)) for key, members in keyed]
    return Group(*(part for block in blocks for part in (block, Text())))


def _checkpoints(key: tuple[str, str, str], rows: list[ComparisonRow]) -> Table:
    attack, split, metric = key
    table = _table(f"{attack} · {split} · {metric_label(metric)}", caption=_groups_caption(rows))
    for name in ("step", "undefended", "defended", "difference", "ratio"):
        _column(table, name, "right")
    # Two decimals of a decibel are below seed noise; SSIM and the like live between 0 and 1.
    decimals = 2 if metric.endswith("psnr") else 3
    for row in rows:
        values = row.values
        _row(
            table,
            str(row.step),
            format_interval(values.undefended, decimals),
            format_interval(values.defended, decimals),
            format_interval(values.difference, decimals, sign=True),
            format_interval(values.ratio, 2),
        )
    return table


def _groups_caption(rows: list[ComparisonRow]) -> str:
    intervals = [interval for row in rows for interval in (row.values.defended, row.values.difference)]
    counts = sorted({interval.groups for interval in intervals})
    shown = "/".join(str(count) for count in counts)
    noun = "object group" if counts == [1] else "object groups"
    if all(interval.low is None for interval in intervals):
        return f"mean over {shown} {noun}, no interval"
    return f"mean over {shown} {noun}, {CONFIDENCE:.0%} bootstrap interval over groups"


def sensitivity_table(rows: Sequence[SensitivityRow], title: str = "Sensitivity, target ÷ source") -> Table:
    """Return the units in the given order with their rank, interval, a column per loss, and what an adapter reaches.

    One loss needs no geometric mean: its own column holds the interval.
    """
    losses = list(dict.fromkeys(loss for row in rows for loss in row.ratios))
    mark = f"~ the {CONFIDENCE:.0%} bootstrap interval over object groups contains 1"
    table = _table(title, caption=f"{mark} · no attn: in a block without attention")
    _column(table, "#", "right")
    _column(table, "unit", "left")
    _column(table, "geo. mean" if len(losses) != 1 else losses[0], "left")
    apart = losses if len(losses) != 1 else []
    for loss in apart:
        _column(table, loss, "right")
    _column(table, "LoRA\nreach", "center")
    _column(table, "no\nattn", "center")
    for rank, row in enumerate(rows, start=1):
        ratios = [format_number(row.ratios[loss].value) if loss in row.ratios else "n/a" for loss in apart]
        flags = [_yes_no(row.lora_reach), _yes_no(row.block_without_attention)]
        combined = format_interval(row.geometric_mean) + (" ~" if row.holds_one else "")
        _row(table, str(rank), row.unit, combined, *ratios, *flags)
    return table


def verdict_table(verdict: Verdict) -> Table:
    """Return the verdict, every reason for it, and what was not tested."""
    table = _table(f"Verdict: {verdict.state}")
    _column(table, "state", "left")
    _column(table, "why", "left")
    for reason in verdict.reasons:
        _row(table, str(reason.state), reason.text)
    if not verdict.reasons:
        _row(table, str(verdict.state), "every measurement is there and within its limit")
    for name in verdict.not_tested:
        _row(table, "not tested", name)
    return table


def summary_table(title: str, values: Mapping[str, Cell]) -> Table:
    """Return names and values, one pair a line."""
    table = _table(title, show_header=False)
    _column(table, "name", "left")
    numeric = all(not isinstance(value, str) for value in values.values())
    _column(table, "value", "right" if numeric else "left")
    for name, value in values.items():
        _row(table, name, format_cell(value))
    return table


def records_table(title: str, records: Sequence[Mapping[str, Cell]], caption: str | None = None) -> Table:
    """Return one line per record under the union of their keys; columns of numbers are right-aligned."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    table = _table(title, caption=caption)
    for column in columns:
        text = any(isinstance(record.get(column), str) for record in records)
        _column(table, column, "left" if text else "right")
    for record in records:
        _row(table, *(format_cell(record.get(column)) for column in columns))
    return table


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


def _table(title: str, caption: str | None = None, show_header: bool = True) -> Table:
    return Table(
        title=Text(title, style="bold"),
        caption=Text(caption) if caption else None,
        box=box.SIMPLE,
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        show_header=show_header,
    )


# Names come from data sets and plug-ins: as Text, a bracket in them is a bracket and no markup.
def _column(table: Table, name: str, justify: JustifyMethod) -> None:
    table.add_column(Text(name), justify=justify, overflow="fold")


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))
