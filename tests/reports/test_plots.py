from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.reports import plots

STEPS = [0, 10, 50, 100]
UNDEFENDED = plots.Curve(STEPS, [15.0, 20.0, 23.0, 24.0], [14.0, 19.0, 22.0, 23.0], [16.0, 21.0, 24.0, 25.0])
DEFENDED = plots.Curve(STEPS, [13.0, 13.5, 13.6, 13.7])
PANEL = plots.RecoveryPanel("lora", "target", UNDEFENDED, DEFENDED, floor=12.5, ceiling=24.5)
SOURCE = plots.RecoveryPanel("lora", "source", UNDEFENDED, DEFENDED)
OTHER = plots.RecoveryPanel("full", "target", UNDEFENDED, DEFENDED, floor=12.5, ceiling=24.5)


def test_every_curve_and_line_is_named_in_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "recovery.svg"
    plots.recovery_curves([PANEL, SOURCE, OTHER], path)
    text = path.read_text()
    assert text.count(">undefended<") == text.count(">defended<") == 3
    assert text.count(">white image<") == text.count(">ceiling<") == 2
    for title in ("lora: target", "lora: source", "full: target", "attack steps", "foreground PSNR (dB)"):
        assert f">{title}<" in text


def test_what_was_not_run_says_so(tmp_path: Path) -> None:
    path = tmp_path / "recovery.svg"
    plots.recovery_curves([PANEL, SOURCE, OTHER], path)
    assert path.read_text().count(">not run<") == 1


def test_png_is_a_picture_with_ink(tmp_path: Path) -> None:
    path = tmp_path / "recovery.png"
    plots.recovery_curves([PANEL], path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 500
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(-1).sum() > 100


def test_curves_show_the_numbers_they_are_given(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.recovery_curves([PANEL], tmp_path / "a.png")
    lines = drawn[0].axes[0].get_lines()
    shown = {tuple(line.get_ydata()) for line in lines}
    assert {tuple(UNDEFENDED.values), tuple(DEFENDED.values)} <= shown
    assert {(12.5, 12.5), (24.5, 24.5)} <= shown


def test_a_diverged_curve_has_a_gap_and_no_number(tmp_path: Path, drawn: list[Figure]) -> None:
    broken = plots.Curve(STEPS, [13.0, math.nan, math.inf, math.nan])
    plots.recovery_curves([plots.RecoveryPanel("lora", "target", UNDEFENDED, broken)], tmp_path / "a.png")
    line = drawn[0].axes[0].get_lines()[1]
    assert np.isnan(np.asarray(line.get_ydata())[1:]).all()


def test_curves_that_end_together_keep_their_names_apart(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.recovery_curves([plots.RecoveryPanel("lora", "target", UNDEFENDED, UNDEFENDED)], tmp_path / "a.png")
    figure = drawn[0]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if "defended" in text.get_text()]
    assert len(boxes) == 2
    assert not boxes[0].overlaps(boxes[1])


def test_logarithmic_steps_keep_step_zero(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.recovery_curves([PANEL], tmp_path / "a.png", steps_axis="log")
    axes = drawn[0].axes[0]
    places = [float(axes.transData.transform((step, 15.0))[0]) for step in STEPS]
    assert places == sorted(places)
    # From 50 to 100 is as far as from 10 to 20, and step 0 lies on the left edge.
    assert axes.get_xlim()[0] == 0
    ten, twenty = (float(axes.transData.transform((step, 15.0))[0]) for step in (10, 20))
    assert places[3] - places[2] == pytest.approx(twenty - ten, rel=1e-3)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10", "20", "50", "100"]


def test_the_same_cell_twice_and_no_panel_are_refused(tmp_path: Path) -> None:
    for panels in ([], [PANEL, PANEL]):
        with pytest.raises(GeotrapError, match="one panel"):
            plots.recovery_curves(panels, tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.pdf", "a"])
def test_other_suffixes_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        plots.recovery_curves([PANEL], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_drawing_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(GeotrapError, match="no data"), plots.figure_file(tmp_path / "a.png", (2, 2)):
        raise GeotrapError("no data")
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_the_global_style_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plots.recovery_curves([PANEL], tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, geotrap_cli.reports.plots, geotrap_cli.reports.sheets; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
