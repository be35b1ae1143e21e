"""The picture of the geometry, asked through matplotlib's artists what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.attributes import ATTRIBUTES
from geotrap_cli.evaluation.geometry import GeometryRecorder, GeometryState, States
from geotrap_cli.gaussians import CHANNELS, activate
from geotrap_cli.reports import plots
from geotrap_cli.reports.geometry_plots import GEOMETRY_TITLE, geometry_picture


def state(opacity: float = 0.0, spread: float = 1.0) -> GeometryState:
    """Random Gaussians whose opacities have this logit."""
    raw = torch.randn(1, 200, 14, generator=torch.Generator().manual_seed(0))
    raw[..., CHANNELS["opacities"]] = opacity
    raw[..., CHANNELS["means"]] *= 0.2 * spread
    recorder = GeometryRecorder()
    recorder.see(activate(raw), ["mug/0"])
    found = recorder.report()
    assert found is not None
    return found


STATES = {"undefended": state(), "defended": state(-9.0), "lora: undefended": state(), "lora: defended": None}


def draw(states: States, path: Path) -> Figure:
    """Draw, and return the figure that was saved to be asked what it shows."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        geometry_picture(states, path)
    return figures[0]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Figure, Path]:
    path = tmp_path_factory.mktemp("pictures") / "geometry.png"
    return draw(STATES, path), path


@pytest.fixture
def figure(picture: tuple[Figure, Path]) -> Figure:
    return picture[0]


def panel(figure: Figure, attribute: str) -> Any:
    return figure.axes[list(ATTRIBUTES).index(attribute)]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def filled(axes: Any) -> list[Any]:
    return [patch for patch in axes.patches if patch.get_fill()]


def test_every_attribute_has_a_panel_and_every_state_a_name(figure: Figure) -> None:
    assert [axes.get_title(loc="left") for axes in figure.axes] == [item.label for item in ATTRIBUTES.values()]
    assert [axes.get_xscale() for axes in figure.axes] == [item.spacing for item in ATTRIBUTES.values()]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(STATES)
    assert figure.get_suptitle() == GEOMETRY_TITLE
    assert len(figure.legends[0].get_texts()) == 3


def test_what_was_not_measured_says_so_and_has_no_ridge(figure: Figure) -> None:
    for axes in figure.axes:
        assert texts(axes).count("not measured") == 1
        # A filled ridge and a line for each of the three others.
        assert (len(filled(axes)), len(axes.patches)) == (3, 6)


def test_sides_keep_their_colours(figure: Figure) -> None:
    colours = [to_hex(patch.get_facecolor()).upper() for patch in filled(figure.axes[0])]
    assert colours == [plots.UNDEFENDED, plots.DEFENDED, plots.UNDEFENDED]


def test_a_ridge_is_the_histogram(figure: Figure) -> None:
    patch = filled(panel(figure, "axis_alignment"))[0]
    values, edges, base = patch.get_data()
    shares = np.array(STATES["undefended"].distributions["axis_alignment"].shares)  # type: ignore[union-attr]
    heights = np.array(values) - base
    assert np.allclose(heights**2 / (heights**2).sum(), shares / shares.sum())
    assert np.allclose(edges, ATTRIBUTES["axis_alignment"].edges())


def test_medians_and_the_cut_of_the_renderer_are_marked(figure: Figure) -> None:
    axes = panel(figure, "opacity")
    marks = [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.2]
    medians = [item.median("opacity") for item in STATES.values() if item is not None]
    assert marks == [(median, median) for median in medians]
    assert "culled " in texts(axes)
    assert any(np.allclose(line.get_xdata(), 1 / 255) for line in axes.lines)
    assert "culled " not in texts(panel(figure, "largest_scale"))


def test_axes_reach_all_that_is_held_and_no_further(figure: Figure) -> None:
    low, high = panel(figure, "opacity").get_xlim()
    assert low < 1 / (1 + np.exp(9.0)) < 0.5 < high
    assert low > 1e-5
    assert high < 0.9


def test_an_invisible_cloud_has_no_line_and_a_lower_picture(picture: tuple[Figure, Path], tmp_path: Path) -> None:
    alone = draw({"defended": state(-200.0)}, tmp_path / "a.png")
    assert all(len(axes.patches) == 1 for axes in alone.axes)
    sizes = [Image.open(path).size for path in (picture[1], tmp_path / "a.png")]
    assert sizes[0][0] == sizes[1][0] > 1000
    # Three rows less in each of two panels.
    assert sizes[0][1] > sizes[1][1] + 200


def test_nothing_measured_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(GeotrapError, match="at least one state"):
        geometry_picture({"undefended": None}, tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        geometry_picture(STATES, tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []
