from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras
from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import activate
from geotrap_cli.training.surface import COLOUR_SHARE, OPACITY_SHARE, cell_colours, fade, surface_loss


def seen(points: Tensor, mask: Tensor, rgb: Tensor | None = None, alpha: Tensor | None = None) -> ViewBatch:
    """A batch whose input views show ``rgb`` with coverage ``alpha``; by default nothing but white."""
    count, views, size = mask.shape[:3]
    alpha = torch.zeros(count, views, size, size) if alpha is None else alpha
    rgb = torch.ones(*alpha.shape, 3) if rgb is None else rgb
    cameras = Cameras(torch.eye(4).expand(count, views, 4, 4), torch.eye(3).expand(count, views, 3, 3), size, size)
    nothing = torch.zeros(count, 0, size, size)
    return ViewBatch(
        images=torch.zeros(count, views, 9, size, size),
        rgb=nothing[..., None].expand(*nothing.shape, 3),
        alpha=nothing,
        cameras=cameras,
        ids=[f"toy/{index}" for index in range(count)],
        input_rgb=rgb,
        input_alpha=alpha,
        input_cameras=cameras,
        surface_points=points,
        surface_mask=mask,
    )


@pytest.fixture
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Raw Gaussians of one object with two views of 2 x 2 pixels; three pixels hit the surface, the rest is NaN."""
    raw = torch.randn(1, 8, 14, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    mask[0, 0, 0, 1] = mask[0, 1, 0, 0] = mask[0, 1, 1, 1] = True
    points = torch.full((1, 2, 2, 2, 3), float("nan"))
    points[mask] = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.6], [0.7, -0.8, 2.0]])
    return raw, points, mask


def test_means_are_compared_where_the_ray_hits(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    hit = [1, 4, 7]  # (view, row, column) order
    expected = (raw[0, hit, :3] - points[mask]).abs().mean()
    assert surface_loss(activate(raw), seen(points, mask))["surface_means"].item() == pytest.approx(expected.item())


def test_gradient_is_zero_on_misses_and_finite_beside_nan(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    surface_loss(activate(raw), seen(points, mask))["surface_means"].backward()
    hit = mask.flatten()
    assert torch.isfinite(raw.grad).all()
    assert (raw.grad[0, ~hit] == 0).all()
    assert torch.allclose(raw.grad[0, hit, :3].abs(), torch.tensor(1 / 9))
    assert (raw.grad[0, :, 3:] == 0).all()


def test_a_gaussian_beyond_the_clamp_is_still_pulled_back() -> None:
    raw = torch.full((1, 1, 14), 5.0, requires_grad=True)
    points, mask = torch.zeros(1, 1, 1, 1, 3), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    surface_loss(activate(raw), seen(points, mask))["surface_means"].backward()
    assert (raw.grad[0, 0, :3] > 0).all()


def test_opacity_follows_the_silhouette(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    loss = surface_loss(activate(raw), seen(points, mask))["surface_opacity"]
    opacity, hit = raw[0, :, 3].detach().sigmoid(), mask.flatten()
    expected = -torch.where(hit, opacity.log(), (1 - opacity).log()).mean()
    assert loss.item() == pytest.approx(OPACITY_SHARE * expected.item(), rel=1e-5)
    loss.backward()
    # Descending raises opacity on the object and lowers it beside.
    assert torch.equal(raw.grad[0, :, 3] < 0, hit)


def test_no_pixel_hits(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    terms = surface_loss(activate(raw), seen(torch.full_like(points, float("nan")), torch.zeros_like(mask)))
    assert terms["surface_means"].item() == 0
    assert terms["surface_rgb"].item() == 0
    assert math.isfinite(terms["surface_opacity"].item())


def test_colours_are_those_of_the_picture_without_its_white_background(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    colour = torch.tensor([0.2, 0.6, 0.4])
    alpha = torch.zeros(1, 2, 4, 4)
    alpha[0, 0, 0, 0] = alpha[0, 0, 1, 1] = 1.0  # half of the first cell of the first view
    batch = seen(points, mask, alpha[..., None] * colour + (1 - alpha[..., None]), alpha)
    colours, covered = cell_colours(batch, 2)
    assert torch.allclose(colours[0, 0], colour, atol=1e-6)
    assert covered[0].tolist() == [True] + [False] * 7
    gaussians = activate(raw)
    loss = surface_loss(gaussians, batch)["surface_rgb"]
    assert loss.item() == pytest.approx(COLOUR_SHARE * (gaussians.rgb[0, 0] - colour).abs().mean().item(), rel=1e-5)
    loss.backward()
    assert (raw.grad[0, 1:] == 0).all() and (raw.grad[0, 0, 11:] != 0).all()


def test_a_batch_without_surfaces_is_refused(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    raw, points, mask = scene
    batch = replace(seen(points, mask), surface_points=None, surface_mask=None)
    with pytest.raises(ValueError, match="surface=True"):
        surface_loss(activate(raw), batch)


def test_fade() -> None:
    assert [fade(step, 10, 0.4) for step in range(6)] == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])
    assert fade(0, 10, 0.0) == 0
    assert [fade(step, 4, 1.0) for step in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [fade(step, 10, 0.4, 0.3) for step in range(6)] == pytest.approx([1, 0.75, 0.5, 0.3, 0.3, 0.3])
