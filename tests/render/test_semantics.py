"""What every back end must draw: known answers on one or two splats."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from geotrap_cli.render.base import FAR, NEAR, Rasterizer, Splats
from geotrap_cli.render.cpu import rasterize_cpu
from geotrap_cli.render.cuda import rasterize_cuda
from geotrap_cli.render.dense import rasterize_dense

needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]


def _on_cuda(splats: Splats, width: int, height: int, near: float, far: float) -> tuple[torch.Tensor, torch.Tensor]:
    moved = Splats(*(value.float().cuda() for value in splats))
    rgb, alpha = rasterize_cuda(moved, width, height, near, far)
    return rgb.double().cpu(), alpha.double().cpu()


@pytest.fixture(params=["cpu", "dense", pytest.param("cuda", marks=needs_cuda)])
def backend(request: pytest.FixtureRequest) -> Rasterizer:
    return {"cpu": rasterize_cpu, "dense": rasterize_dense, "cuda": _on_cuda}[request.param]


def _draw(backend: Rasterizer, splats: Splats, size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    rgb, alpha = backend(splats, size, size, NEAR, FAR)
    return rgb[0, 0], alpha[0, 0]


def test_a_round_splat_is_a_blurred_gaussian(backend: Rasterizer, one: Callable[..., Splats]) -> None:
    rgb, alpha = _draw(backend, one(z=2.0, opacity=0.5))
    variance = (0.2 * 9 / 2.0) ** 2 + 0.3
    distance = torch.arange(9, dtype=torch.float64) - 4
    expected = 0.5 * torch.exp(-0.5 * (distance[:, None] ** 2 + distance**2) / variance)
    expected[expected < 1 / 255] = 0.0
    assert (expected == 0).any()
    torch.testing.assert_close(alpha, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rgb, alpha[..., None] * torch.tensor([0.2, 0.5, 0.8]).double(), atol=1e-6, rtol=1e-5)


def test_image_axes_are_right_and_down(backend: Rasterizer, one: Callable[..., Splats]) -> None:
    _, alpha = _draw(backend, one(x=0.5, y=-0.25))
    row, column = divmod(int(alpha.argmax()), 9)
    assert (row, column) == (3, 6)


def test_the_nearer_splat_covers_the_farther(backend: Rasterizer, one: Callable, stack: Callable) -> None:
    near = one(z=1.0, opacity=0.6, rgb=torch.tensor([[[1.0, 0.0, 0.0]]]).double())
    far = one(z=2.0, opacity=0.6, rgb=torch.tensor([[[0.0, 1.0, 0.0]]]).double())
    for order in (stack(near, far), stack(far, near)):
        rgb, alpha = _draw(backend, order)
        torch.testing.assert_close(rgb[4, 4], torch.tensor([0.6, 0.24, 0.0]).double(), atol=1e-6, rtol=1e-5)
        assert alpha[4, 4].item() == pytest.approx(0.84, abs=1e-6)


def test_equal_depths_keep_the_input_order(backend: Rasterizer, one: Callable, stack: Callable) -> None:
    red = one(opacity=0.6, rgb=torch.tensor([[[1.0, 0.0, 0.0]]]).double())
    green = one(opacity=0.6, rgb=torch.tensor([[[0.0, 1.0, 0.0]]]).double())
    rgb, _ = _draw(backend, stack(red, green))
    assert rgb[4, 4, 0].item() == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize(("z", "visible"), [(-2.0, False), (0.0, False), (0.199, False), (0.201, True)])
def test_splats_before_the_near_plane_are_culled(
    backend: Rasterizer, one: Callable[..., Splats], z: float, visible: bool
) -> None:
    assert bool(_draw(backend, one(z=z))[1].any()) is visible


def test_splats_beyond_the_far_plane_are_culled(backend: Rasterizer, one: Callable[..., Splats]) -> None:
    assert backend(one(z=2.0), 9, 9, NEAR, 2.1)[1].any()
    assert not backend(one(z=2.0), 9, 9, NEAR, 1.9)[1].any()


@pytest.mark.parametrize(("opacity", "visible"), [(0.0, False), (0.99 / 255, False), (1.01 / 255, True)])
def test_opacities_below_a_grey_level_are_culled(
    backend: Rasterizer, one: Callable[..., Splats], opacity: float, visible: bool
) -> None:
    assert bool(_draw(backend, one(opacity=opacity))[1].any()) is visible


def test_alpha_is_capped(backend: Rasterizer, one: Callable[..., Splats]) -> None:
    assert _draw(backend, one(opacity=1.0))[1].max().item() == pytest.approx(0.999, abs=1e-6)


def test_a_stopped_pixel_never_starts_again(backend: Rasterizer, one: Callable, stack: Callable) -> None:
    # The second splat would leave 1e-3 * 1e-3 <= 1e-4, so it is not added; nor is the third, which would leave 5e-4.
    splats = stack(one(z=1.0, opacity=1.0), one(z=2.0, opacity=1.0), one(z=3.0, opacity=0.5))
    assert _draw(backend, splats)[1][4, 4].item() == pytest.approx(0.999, abs=1e-6)
    faint = stack(one(z=1.0, opacity=1.0), one(z=3.0, opacity=0.5))
    assert _draw(backend, faint)[1][4, 4].item() == pytest.approx(0.9995, abs=1e-6)


def test_no_gaussians_and_no_objects_give_empty_images(backend: Rasterizer, scene: Callable[..., Splats]) -> None:
    rgb, alpha = backend(scene(count=0, batch=2, views=3), 19, 13, NEAR, FAR)
    assert rgb.shape == (2, 3, 13, 19, 3)
    assert not rgb.any()
    assert not alpha.any()


def test_zero_scale_draws_the_blur_alone(backend: Rasterizer, one: Callable[..., Splats]) -> None:
    _, alpha = _draw(backend, one(opacity=0.8, scales=torch.zeros(1, 1, 3).double()))
    assert alpha[4, 5].item() == pytest.approx(0.8 * math.exp(-0.5 / 0.3), rel=1e-5)


def test_quats_need_not_be_normalised(backend: Rasterizer, scene: Callable[..., Splats]) -> None:
    splats = scene()
    scaled = splats._replace(quats=splats.quats * 7.0)
    for first, second in zip(
        backend(splats, 19, 13, NEAR, FAR), backend(scaled, 19, 13, NEAR, FAR), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
