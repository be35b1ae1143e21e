from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.reports.sensitivity_plots import REACHED, UNREACHED, sensitivity_bars, sensitivity_heat
from geotrap_cli.reports.tables import SensitivityRow

UNDEFINED = Interval(math.nan, None, None, 8)


def row(unit: str, combined: Interval, lora_reach: bool = False, **ratios: float) -> SensitivityRow:
    intervals = {name: Interval(value, value / 2, value * 2, 8) for name, value in ratios.items()}
    return SensitivityRow(unit, intervals, combined, lora_reach, True)


ROWS = [
    row("unet.conv_in", Interval(1.7, 1.2, 2.5, 8), position=1.5, scale=2.0),
    row("unet.mid_block.nets.0", Interval(0.5, 0.4, 0.9, 8), lora_reach=True, position=0.5, scale=0.5),
    row("conv", UNDEFINED, position=math.nan, scale=1.0),
    row("unet.norm_out", Interval(0.0, None, None, 8), position=0.0, scale=1.0),
]


def names(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_bars_start_at_one_and_end_at_the_ratio(tmp_path: Path, drawn: list[Figure]) -> None:
    sensitivity_bars(ROWS, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    bars: Any = axes.patches
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] == [(1.0, 1.7), (1.0, 0.5)]
    assert names(drawn[0]) == [item.unit for item in ROWS]
    # The first row is on top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_bars_show_intervals_and_what_has_no_place_on_the_axis(tmp_path: Path, drawn: list[Figure]) -> None:
    sensitivity_bars(ROWS, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    spans = [tuple(line.get_xdata()) for line in axes.lines if line.get_color() == "black"]
    assert spans == [(1.2, 2.5), (0.4, 0.9)]
    assert [text.get_text() for text in axes.texts] == ["n/a", "0"]
    low, high = axes.get_xlim()
    assert low < 0.4
    assert high > 2.5


def test_reached_units_differ_in_colour_and_hatching(tmp_path: Path, drawn: list[Figure]) -> None:
    from matplotlib.colors import to_hex

    sensitivity_bars(ROWS, tmp_path / "a.png")
    free, reached = drawn[0].axes[0].patches
    assert [to_hex(bar.get_facecolor()).upper() for bar in (free, reached)] == [UNREACHED, REACHED]
    assert (free.get_hatch(), bool(reached.get_hatch())) == (None, True)


def test_bars_say_what_is_averaged(tmp_path: Path) -> None:
    sensitivity_bars(ROWS, tmp_path / "two.svg")
    assert "geometric mean over position, scale" in (tmp_path / "two.svg").read_text()
    sensitivity_bars([row("conv", Interval(2.0, 1.0, 3.0, 8), attack=2.0)], tmp_path / "one.svg")
    assert "geometric mean" not in (tmp_path / "one.svg").read_text()


def test_heat_has_a_number_in_every_cell(tmp_path: Path, drawn: list[Figure]) -> None:
    sensitivity_heat(ROWS, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.50", "2.00", "0.50", "0.50", "n/a", "1.00", "0.00", "1.00"]
    assert names(drawn[0]) == [item.unit for item in ROWS]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["position", "scale"]


def test_heat_is_neutral_at_one_and_as_strong_below_as_above(tmp_path: Path, drawn: list[Figure]) -> None:
    sensitivity_heat(ROWS, tmp_path / "a.png")
    (image,) = drawn[0].axes[0].images
    low, high = image.get_clim()
    assert low == -high
    assert image.get_array()[0, 1] == pytest.approx(-image.get_array()[1, 1])
    assert image.get_array()[2, 1] == 0


@pytest.mark.parametrize("draw", [sensitivity_bars, sensitivity_heat])
def test_what_cannot_be_drawn_is_refused_and_nothing_written(tmp_path: Path, draw: Any) -> None:
    with pytest.raises(GeotrapError, match="at least one unit"):
        draw([], tmp_path / "a.png")
    with pytest.raises(GeotrapError, match=r"conv for scale is -1\.0, less than zero"):
        draw([row("conv", UNDEFINED, scale=-1.0)], tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        draw(ROWS, tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, geotrap_cli.reports.sensitivity_plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
