from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from rich.console import Console, RenderableType

from geotrap_cli.evaluation.bootstrap import Interval, paired_comparison
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.reports import tables

GROUPS = list("abcdef")
UNDEFENDED = [24.0, 27.5, 22.1, 25.9, 23.3, 26.0]
DEFENDED = [14.0, 13.5, 15.1, 12.9, 16.3, 13.0]


def printed(renderable: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(step: int) -> tables.ComparisonRow:
    return tables.ComparisonRow(
        "lora", "target", "foreground_psnr", step, paired_comparison(UNDEFENDED, DEFENDED, GROUPS)
    )


@pytest.mark.parametrize(
    ("interval", "options", "text"),
    [
        (Interval(-10.674, -12.0, -9.5, 6), {"sign": True}, "-10.67 [-12.00, -9.50]"),
        (Interval(0.5, 0.25, 0.75, 6), {"decimals": 3, "sign": True}, "+0.500 [+0.250, +0.750]"),
        (Interval(20.0, None, None, 1), {}, "20.00"),
        (Interval(math.nan, None, None, 3), {}, "n/a"),
    ],
)
def test_intervals(interval: Interval, options: dict[str, Any], text: str) -> None:
    assert tables.format_interval(interval, **options) == text


def test_numbers_are_right_aligned() -> None:
    values = [Interval(value, None, None, 2) for value in (9.5, 10.5)]
    rows = [{"score": value} for value in values]
    lines = [line for line in printed(tables.records_table("t", rows)).splitlines() if "." in line]
    assert lines[0].rstrip().endswith("9.50")
    assert len(lines[0].rstrip()) == len(lines[1].rstrip())


@pytest.mark.parametrize(
    ("value", "text"), [(None, "n/a"), (math.nan, "n/a"), (math.inf, "inf"), (-math.inf, "-inf"), (1.005, "1.00")]
)
def test_numbers_that_are_none(value: float | None, text: str) -> None:
    assert tables.format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (3, "3"),
        (0.5, "0.500"),
        (12.345, "12.35"),
        (Censored(500), ">500"),
        (math.nan, "n/a"),
        ("x", "x"),
    ],
)
def test_cells(value: tables.Cell, text: str) -> None:
    assert tables.format_cell(value) == text


def sure(value: float, half: float = 0.1) -> Interval:
    return Interval(value, value - half, value + half, 8)


UNKNOWN = Interval(math.nan, None, None, 8)


def test_sensitivity_ranks_units_and_shows_every_loss() -> None:
    rows = [
        tables.SensitivityRow(
            "unet.down_blocks.4.attns.1.attn.qkv",
            {"position": sure(1.51), "scale": sure(2.04)},
            sure(1.76),
            True,
            False,
        ),
        tables.SensitivityRow("conv", {"position": UNKNOWN, "scale": sure(1)}, UNKNOWN, False, True),
        tables.SensitivityRow("unet.conv_in", {"position": sure(1), "scale": sure(1)}, sure(1.05), False, True),
    ]
    lines = [line.split() for line in printed(tables.sensitivity_table(rows)).splitlines()]
    qkv = ["1", "unet.down_blocks.4.attns.1.attn.qkv", "1.76", "[1.66,", "1.86]", "1.51", "2.04", "yes", "no"]
    assert qkv in lines
    assert ["2", "conv", "n/a", "n/a", "1.00", "no", "yes"] in lines
    assert ["3", "unet.conv_in", "1.05", "[0.95,", "1.15]", "~", "1.00", "1.00", "no", "yes"] in lines
    assert max(map(len, printed(tables.sensitivity_table(rows)).splitlines())) <= 100


def test_one_loss_shows_its_ratio_once() -> None:
    rows = [tables.SensitivityRow("conv", {"attack": sure(2)}, sure(2), False, True)]
    text = printed(tables.sensitivity_table(rows))
    assert "geo. mean" not in text
    assert ["1", "conv", "2.00", "[1.90,", "2.10]", "no", "yes"] in [line.split() for line in text.splitlines()]


def test_sensitivity_with_many_losses_folds_names_and_keeps_numbers() -> None:
    losses = ["position", "scale", "opacity", "rotation", "color"]
    ratios = dict.fromkeys(losses, sure(1.25))
    rows = [tables.SensitivityRow("unet.up_blocks.0.attns.2.attn.proj", ratios, sure(1.25), True, False)]
    text = printed(tables.sensitivity_table(rows))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("1.25") == 6


@pytest.mark.parametrize(
    ("interval", "holds"),
    [(sure(1), True), (sure(1.2), False), (sure(0.8), False), (Interval(1.1, 1.0, 2.0, 8), True), (UNKNOWN, None)],
)
def test_a_row_knows_whether_its_interval_contains_one(interval: Interval, holds: bool | None) -> None:
    assert tables.SensitivityRow("conv", {"scale": interval}, interval, False, True).holds_one is holds


def test_brackets_in_names_are_printed() -> None:
    text = printed(tables.records_table("[a] title", [{"[red]name": "chair[bold]"}]))
    for part in ("[a] title", "[red]name", "chair[bold]"):
        assert part in text


def test_no_color_takes_no_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    console.print(tables.records_table("t", [row(0).record()]))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[3" not in console.file.getvalue()


def test_csv_has_every_field_and_leaves_undefined_ones_empty() -> None:
    records: list[tables.Record] = [row(step=5).record(), {"attack": "lora", "ratio": math.nan, "note": None}]
    first, second = csv.DictReader(io.StringIO(tables.to_csv(records)))
    assert first["step"] == "5"
    assert float(first["difference_low"]) < float(first["difference"]) < float(first["difference_high"])
    assert (second["ratio"], second["note"], second["step"]) == ("", "", "")


def test_json_is_strict() -> None:
    text = tables.to_json([{"a": math.nan, "b": math.inf, "c": 1.5, "d": None, "e": True}])
    assert json.loads(text, parse_constant=pytest.fail) == [{"a": None, "b": "inf", "c": 1.5, "d": None, "e": True}]


def test_sensitivity_record_is_flat() -> None:
    record = tables.SensitivityRow("conv", {"scale": sure(2, 0.5)}, UNKNOWN, False, True).record()
    assert math.isnan(record.pop("geometric_mean"))  # type: ignore[arg-type]
    assert record == {
        "unit": "conv",
        "ratio_scale": 2.0,
        "ratio_scale_low": 1.5,
        "ratio_scale_high": 2.5,
        "geometric_mean_low": None,
        "geometric_mean_high": None,
        "holds_one": None,
        "lora_reach": False,
        "block_without_attention": True,
    }


def test_other_trunks_are_not_labelled_lpips() -> None:
    assert tables.metric_label("lpips") == "LPIPS"
    assert "not LPIPS" in tables.metric_label("lpips_custom_trunk")
