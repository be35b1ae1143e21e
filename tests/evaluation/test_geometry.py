"""The state of a geometry, on clouds whose state is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.evaluation.attributes import ATTRIBUTES, BINS
from geotrap_cli.evaluation.geometry import QUANTILES, GeometryRecorder, GeometryState
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate


def cloud(objects: int = 1, gaussians: int = 100, **attributes: Any) -> GaussianBatch:
    """Round grey Gaussians of opacity one half at the origin, but for the given activated values."""
    values = torch.zeros(objects, gaussians, 14, dtype=torch.float64)
    defaults = {"opacities": 0.5, "scales": 0.01, "quats": torch.tensor([1.0, 0, 0, 0]), "rgb": 0.5}
    for name, value in (defaults | attributes).items():
        values[..., CHANNELS[name]] = torch.as_tensor(value, dtype=torch.float64)
    return GaussianBatch(values, torch.zeros_like(values))


def state_of(*batches: GaussianBatch) -> GeometryState:
    recorder = GeometryRecorder()
    for index, batch in enumerate(batches):
        recorder.see(batch, [f"mug/{index}-{place}" for place in range(len(batch))])
    state = recorder.report()
    assert state is not None
    return state


def bin_of(name: str, value: float) -> int:
    edges = ATTRIBUTES[name].edges()
    return int(np.searchsorted(edges, value, side="right")) - 1


def column(values: torch.Tensor) -> torch.Tensor:
    return values.double()[None, :, None]


def test_nothing_seen_is_nothing_measured() -> None:
    assert GeometryRecorder().report() is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_every_gaussian_is_counted_once(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = state_of(activate(20 * torch.randn(2, 50, 14, generator=generator)))
    assert list(state.distributions) == list(ATTRIBUTES)
    for found in state.distributions.values():
        assert len(found.edges) == BINS + 1
        assert len(found.shares) == BINS
        assert sum(found.shares) + found.undefined == pytest.approx(1, abs=1e-5)
        assert found.visible is not None
        assert sum(found.visible) == pytest.approx(1, abs=1e-5)
        quantiles = [found.quantiles[name] for name in QUANTILES]
        assert quantiles == sorted(quantiles)  # type: ignore[type-var]


def test_shares_and_quantiles_of_opacity() -> None:
    opacities = torch.cat([torch.full((75,), 0.001), torch.full((25,), 0.9)])
    found = state_of(cloud(opacities=column(opacities))).distributions["opacity"]
    assert found.shares[bin_of("opacity", 0.001)] == 0.75
    assert found.shares[bin_of("opacity", 0.9)] == 0.25
    assert [found.quantiles[name] for name in ("p25", "p50", "p75", "p95")] == [
        pytest.approx(value, rel=1e-6) for value in (0.001, 0.001, 0.001, 0.9)
    ]
    # Of what can be seen, nearly all is opaque.
    assert found.visible is not None
    assert found.visible[bin_of("opacity", 0.9)] == pytest.approx(25 * 0.9 / (25 * 0.9 + 75 * 0.001), abs=1e-6)
    assert found.visible_quantiles["p05"] == pytest.approx(0.9)


def test_values_beyond_the_bins_are_counted_at_their_ends() -> None:
    scales = torch.full((100, 3), 1e-9)
    scales[:40] = 50.0
    found = state_of(cloud(scales=scales)).distributions["largest_scale"]
    assert (found.shares[0], found.shares[-1]) == (0.6, 0.4)
    assert found.quantiles["p50"] == pytest.approx(1e-9)


def test_each_attribute_measures_what_it_says() -> None:
    means = torch.zeros(100, 3)
    means[:50, 0], means[50:, 0] = 0.3, -0.3
    rgb = torch.full((100, 3), 0.5)
    rgb[:50, 1], rgb[50:, 1] = 0.6, 0.4
    scales = torch.tensor([0.02, 0.01, 0.04])
    state = state_of(cloud(means=means + 0.5, rgb=rgb, scales=scales))
    assert state.median("centroid_distance") == pytest.approx(0.3)
    assert state.median("color_distance") == pytest.approx(0.1)
    assert state.median("largest_scale") == pytest.approx(0.04)
    assert state.median("anisotropy") == pytest.approx(4)
    assert state.shape["position_spread"] == pytest.approx(0.09)
    assert state.shape["color_spread"] == pytest.approx(0.01)


def test_parallel_axes_are_aligned_and_scattered_ones_are_not() -> None:
    needle = torch.tensor([0.01, 0.01, 0.05])
    parallel = state_of(cloud(scales=needle))
    assert parallel.median("axis_alignment") == pytest.approx(1)
    assert parallel.shape["axis_concentration"] == pytest.approx(1)
    assert parallel.shape["axis_thickness"] == pytest.approx(0, abs=1e-12)
    quats = torch.nn.functional.normalize(torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    scattered = state_of(cloud(gaussians=4000, scales=needle, quats=quats))
    # |cos| to a fixed axis is uniform on [0, 1] for directions that are uniform on the sphere.
    assert scattered.median("axis_alignment") == pytest.approx(0.5, abs=0.05)
    assert scattered.shape["axis_concentration"] == pytest.approx(1 / 3, abs=0.03)
    assert scattered.shape["axis_thickness"] == pytest.approx(1 / 3, abs=0.03)


def test_the_longest_axis_is_the_one_that_turns() -> None:
    # A quarter turn about x takes z to -y: two needles at a right angle, whatever their z scale alone would say.
    half = math.sqrt(0.5)
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(100, 1)
    quats[:50] = torch.tensor([half, half, 0, 0])
    along_x = state_of(cloud(scales=torch.tensor([0.05, 0.01, 0.01]), quats=quats))
    along_z = state_of(cloud(scales=torch.tensor([0.01, 0.01, 0.05]), quats=quats))
    assert along_x.shape["axis_concentration"] == pytest.approx(1)
    assert along_z.shape["axis_concentration"] == pytest.approx(0.5)


def test_effective_gaussians_count_the_opaque() -> None:
    opacities = torch.zeros(100)
    opacities[:10] = 0.7
    assert state_of(cloud(opacities=column(opacities))).shape["effective_gaussians"] == pytest.approx(10)


def test_invisible_objects_leave_nothing_to_weigh() -> None:
    state = state_of(cloud(opacities=0.0))
    found = state.distributions["centroid_distance"]
    assert found.visible is None
    assert set(found.visible_quantiles.values()) == {None}
    assert found.quantiles["p50"] == 0
    assert state.shape["effective_gaussians"] is None
    assert state.saturation["culled"] == 1


def test_every_object_weighs_the_same_among_the_visible() -> None:
    faint, opaque = (cloud(opacities=opacity, scales=scale) for opacity, scale in ((0.01, 0.001), (0.9, 0.1)))
    visible = state_of(faint, opaque).distributions["largest_scale"].visible
    assert visible is not None
    assert [share for share in visible if share] == [pytest.approx(0.5), pytest.approx(0.5)]


def test_vanished_sizes_have_no_anisotropy() -> None:
    scales = torch.full((100, 3), 0.01)
    scales[:30] = 0.0
    scales[30:60, 0] = 0.0
    found = state_of(cloud(scales=scales)).distributions["anisotropy"]
    assert found.undefined == pytest.approx(0.3)
    assert sum(found.shares) == pytest.approx(0.7)
    assert found.quantiles["p25"] == pytest.approx(1)
    assert found.quantiles["p75"] == math.inf


def test_batches_do_not_matter() -> None:
    batch = activate(torch.randn(3, 20, 14, generator=torch.Generator().manual_seed(1)))
    together, apart = GeometryRecorder(), GeometryRecorder()
    together.see(batch, ["a", "b", "c"])
    apart.see(batch[:2], ["a", "b"])
    apart.see(batch[2], ["c"])
    assert together.report() == apart.report()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_gaussians_are_not_measured(value: float) -> None:
    batch = cloud(objects=2)
    batch.activated[1, 3, 0] = value
    with pytest.raises(NonFiniteError, match="mug/1"):
        GeometryRecorder().see(batch, ["mug/0", "mug/1"])


def test_summary_has_everything_but_the_histograms() -> None:
    state = state_of(cloud(objects=2))
    summary = state.summary()
    assert (summary["objects"], summary["gaussians"]) == (2, 100)
    assert summary["quantiles"]["opacity"]["p50"] == 0.5
    assert set(summary) == {"objects", "gaussians", "quantiles", "visible_quantiles", "saturation", "shape"}
