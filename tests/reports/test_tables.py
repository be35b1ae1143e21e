from __future__ import annotations

import csv
import io
import json
import math

import pytest
from rich.console import Console, RenderableType

from geotrap_cli.evaluation.bootstrap import Interval, paired_comparison
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import AttackHealth, Evidence, judge
from geotrap_cli.reports import tables

GROUPS = list("abcdef")
UNDEFENDED = [24.0, 27.5, 22.1, 25.9, 23.3, 26.0]
DEFENDED = [14.0, 13.5, 15.1, 12.9, 16.3, 13.0]


def printed(renderable: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(metric: str = "foreground_psnr", step: int = 0, scale: float = 1.0, **names: str) -> tables.ComparisonRow:
    values = paired_comparison([scale * v for v in UNDEFENDED], [scale * v for v in DEFENDED], GROUPS)
    return tables.ComparisonRow(names.get("attack", "lora"), names.get("split", "target"), metric, step, values)


def test_comparison_shows_both_values_their_difference_and_ratio() -> None:
    lines = printed(tables.comparison_table([row(step=50)])).splitlines()
    assert lines[0].strip() == "lora · target · foreground PSNR (dB)"
    line = next(line for line in lines if line.strip().startswith("50"))
    for part in ("24.80 [", "14.13 [", "-10.67 [", "0.57 ["):
        assert part in line
    low, high = (float(bound) for bound in line.split("[")[1].split("]")[0].split(","))
    assert min(UNDEFENDED) < low < 24.8 < high < max(UNDEFENDED)
    assert "6 object groups, 95% bootstrap interval" in lines[-2]


def test_comparison_makes_one_table_for_each_attack_split_and_metric() -> None:
    rows = [row(step=0), row(step=10), row("ssim", scale=1 / 30), row(split="source"), row(attack="full")]
    text = printed(tables.comparison_table(rows))
    assert text.count("undefended") == 4
    for title in ("lora · target · SSIM", "lora · source · foreground PSNR", "full · target · foreground PSNR"):
        assert title in text


@pytest.mark.parametrize("width", [100, 60])
def test_comparison_fits_and_loses_no_digit(width: int) -> None:
    rows = [row(step=100_000), row("ssim", step=100_000, scale=1 / 30)]
    text = printed(tables.comparison_table(rows), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    if width == 100:
        assert "100000" in text


def test_one_group_shows_no_interval_and_says_so() -> None:
    values = paired_comparison([20.0], [10.0], ["a"])
    text = printed(tables.comparison_table([tables.ComparisonRow("lora", "target", "psnr", 0, values)]))
    assert "[" not in text
    assert "1 object group, no interval" in text


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


def test_verdict_names_what_was_not_measured_and_not_tested() -> None:
    text = printed(tables.verdict_table(judge(Evidence(25.0, 15.0, 5.0, None, 0.2, None))))
    assert text.startswith("Verdict: NOT_RUN")
    assert "the health of the attack was not measured" in text
    assert "the de-saturating attack" in text


def test_valid_verdict_has_a_line_too() -> None:
    health = AttackHealth(0.0, 0.0, 0, True)
    text = printed(tables.verdict_table(judge(Evidence(25.0, 15.0, 5.0, 15.5, 0.2, health))))
    assert text.startswith("Verdict: VALID")
    assert "within its limit" in text


def test_brackets_in_names_are_printed() -> None:
    text = printed(tables.records_table("[a] title", [{"[red]name": "chair[bold]"}]))
    for part in ("[a] title", "[red]name", "chair[bold]"):
        assert part in text
    assert "[x]" in printed(tables.summary_table("t", {"[x]": 1}))


def test_no_color_takes_no_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    console.print(tables.comparison_table([row()]))
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
