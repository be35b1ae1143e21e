"""The entry points: checks, types, devices, compositing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.errors import GeotrapError, NonFiniteError
from geotrap_cli.gaussians import activate
from geotrap_cli.render import rasterize, render
from geotrap_cli.render.base import Splats

ATTRIBUTES = Splats._fields


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_an_error_that_names_them(scene: Callable[..., Splats], name: str, value: float) -> None:
    splats = scene()
    spoiled = getattr(splats, name).clone()
    spoiled.view(-1)[5] = value
    with pytest.raises(NonFiniteError, match=rf"\b{name} with 1 NaN or infinite"):
        rasterize(*splats._replace(**{name: spoiled}), 19, 13)


def test_extreme_finite_values_are_no_error(scene: Callable[..., Splats]) -> None:
    splats = Splats(*(value.float() for value in scene()))
    means = splats.means.clone()
    means[0, 0], means[0, 1] = -3e38, 3e38
    rgb, _ = rasterize(*splats._replace(means=means), 19, 13)
    assert torch.isfinite(rgb).all()


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_wrong_shapes_are_an_error_that_names_them(scene: Callable[..., Splats], name: str) -> None:
    splats = scene(batch=2, views=2)
    with pytest.raises(GeotrapError, match=f"got {name} of shape"):
        rasterize(*splats._replace(**{name: getattr(splats, name)[..., :1]}), 19, 13)


def test_opacities_with_a_last_dimension_are_an_error(scene: Callable[..., Splats]) -> None:
    splats = scene()
    with pytest.raises(GeotrapError, match="opacities of shape"):
        rasterize(*splats._replace(opacities=splats.opacities[..., None]), 19, 13)


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
def test_cameras_that_want_a_gradient_are_an_error(scene: Callable[..., Splats], name: str) -> None:
    splats = scene()
    tracked = splats._replace(**{name: getattr(splats, name).requires_grad_()})
    with pytest.raises(GeotrapError, match="no gradient to cameras"):
        rasterize(*tracked, 19, 13)
    with torch.no_grad():
        assert rasterize(*tracked, 19, 13)[1].any()


@pytest.mark.parametrize(("width", "height"), [(0, 13), (19, -1)])
def test_empty_images_are_an_error(scene: Callable[..., Splats], width: int, height: int) -> None:
    with pytest.raises(GeotrapError, match="image size"):
        rasterize(*scene(), width, height)


def test_an_inverted_depth_range_is_an_error(scene: Callable[..., Splats]) -> None:
    with pytest.raises(GeotrapError, match="depth range"):
        rasterize(*scene(), 19, 13, near=2.0, far=1.0)


def test_devices_without_a_back_end_are_an_error(scene: Callable[..., Splats]) -> None:
    with pytest.raises(GeotrapError, match="No rasterizer for device meta"):
        rasterize(*Splats(*(value.to("meta") for value in scene())), 19, 13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_its_gradient_lowered(scene: Callable[..., Splats], dtype: torch.dtype) -> None:
    splats = scene()
    halved = Splats(*(value.to(dtype) for value in splats))
    halved.means.requires_grad_()
    rgb, alpha = rasterize(*halved, 19, 13)
    assert rgb.dtype == alpha.dtype == torch.float32
    alpha.sum().backward()
    assert halved.means.grad is not None
    assert halved.means.grad.dtype == dtype


def test_autocast_changes_nothing(scene: Callable[..., Splats]) -> None:
    splats = Splats(*(value.float() for value in scene()))
    expected, _ = rasterize(*splats, 19, 13)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rgb, _ = rasterize(*splats, 19, 13)
    assert torch.equal(rgb, expected)


def _cameras(*azimuths: float) -> Cameras:
    K = intrinsics_from_fov(math.radians(49.1), 16, 16)
    return Cameras(orbit_viewmats(0.0, torch.tensor(azimuths)), K.expand(len(azimuths), 3, 3), 16, 16)


def test_render_composites_on_the_background_and_clamps() -> None:
    batch = activate(torch.randn(2, 50, 14, generator=torch.Generator().manual_seed(0)))
    cameras = _cameras(0.0, 120.0, 240.0)
    rendered = render(batch, cameras, background=0.25)
    viewmats, Ks = cameras.viewmats.expand(2, 3, 4, 4), cameras.Ks.expand(2, 3, 3, 3)
    rgb, alpha = rasterize(batch.means, batch.quats, batch.scales, batch.opacities, batch.rgb, viewmats, Ks, 16, 16)
    assert torch.equal(rendered.alpha, alpha)
    torch.testing.assert_close(rendered.rgb, (rgb + 0.25 * (1 - alpha[..., None])).clamp(0, 1))
    assert float(rendered.rgb.min()) >= 0
    assert float(rendered.rgb.max()) <= 1


def test_render_takes_cameras_for_each_object() -> None:
    batch = activate(torch.randn(2, 50, 14, generator=torch.Generator().manual_seed(0)))
    front, side = _cameras(0.0), _cameras(90.0)
    viewmats = torch.stack([front.viewmats, side.viewmats])
    both = render(batch, Cameras(viewmats, torch.stack([front.Ks, side.Ks]), 16, 16))
    assert torch.equal(both.rgb[1:], render(batch[1], side).rgb)


def test_nothing_in_view_is_the_background() -> None:
    empty = activate(torch.zeros(1, 0, 14))
    rendered = render(empty, _cameras(0.0))
    assert torch.equal(rendered.rgb, torch.ones(1, 1, 16, 16, 3))


def test_opacity_gradients_have_the_sign_of_the_error() -> None:
    # A white object on a white background against a black target: the loss falls when the object gets darker.
    raw = torch.zeros(1, 30, 14)
    raw[..., :3] = 0.3 * torch.randn(1, 30, 3, generator=torch.Generator().manual_seed(0))
    raw[..., 7] = 1.0
    raw.requires_grad_()
    render(activate(raw), _cameras(0.0)).rgb.square().mean().backward()
    assert raw.grad is not None
    assert (raw.grad[..., 11:14] >= 0).all()
    assert raw.grad[..., 11:14].any()
