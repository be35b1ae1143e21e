from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.reports.causal_plots import CausalPoint, causal_scatter


def point(unit: str, score: float, effect: float, reached: bool = True) -> CausalPoint:
    return CausalPoint(unit, {"share": score, "rms": score}, Interval(effect, effect - 0.1, effect + 0.2, 8), reached)


POINTS = [
    point("unet.a", 0.1, 0.0),
    point("unet.b", 0.2, 0.5, reached=False),
    point("unet.c", 0.3, 0.1),
    point("unet.d", 0.9, 0.2),
    point("unet.e", 0.4, -0.3),
    point("unet.f", 0.0, 0.1),
    point("unet.g", 0.5, math.nan),
]


def draw(path: Path, points: list[CausalPoint], captions: dict[str, str]) -> None:
    causal_scatter(points, path, captions=captions, title="Worth", ylabel="dB")


def test_each_point_stands_at_its_score_and_effect(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path / "a.png", POINTS, {"share": "Spearman 0.5", "rms": "Spearman 0.1"})
    panels = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in panels] == ["Spearman 0.5", "Spearman 0.1"]
    reached, safe = (dots.get_offsets().data.tolist() for dots in panels[0].collections)  # type: ignore[attr-defined]
    assert reached == [[0.1, 0.0], [0.3, 0.1], [0.9, 0.2], [0.4, -0.3]]
    assert safe == [[0.2, 0.5]]
    spans = [tuple(line.get_ydata()) for line in panels[0].lines if len(set(line.get_xdata())) == 1]
    assert (0.4, 0.7) in [(round(low, 6), round(high, 6)) for low, high in spans]


def test_the_extremes_carry_their_names_and_what_is_missing_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path / "a.svg", POINTS, {"share": ""})
    texts = {text.get_text() for text in drawn[0].axes[0].texts}
    # Largest effects, smallest effect, highest score.
    assert texts == {"b", "d", "e", "2 units not shown: no score or no effect"}


def test_nothing_to_show_is_still_a_figure_that_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    draw(tmp_path / "a.png", POINTS[-2:], {"share": ""})
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["2 units not shown: no score or no effect"]


def test_a_figure_without_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeotrapError, match="at least one unit"):
        draw(tmp_path / "a.png", [], {"share": ""})
    assert list(tmp_path.iterdir()) == []
