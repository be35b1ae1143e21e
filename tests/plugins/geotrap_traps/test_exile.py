from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_traps.exile import ExileConfig, ExileTrap

from geotrap_cli.cameras import LGM_FOV_Y_DEG, Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.render import render

Cloud = Callable[..., GaussianBatch]


def test_known_value(cloud: Cloud) -> None:
    means = torch.tensor([[[0.0, 0.62, 0.0], [0.3, 0.62, 0.4]]], dtype=torch.float64)
    assert ExileTrap().loss(cloud(means=means)).item() == pytest.approx(math.log(0.125 + 1e-3))


def test_all_gathered_is_the_floor(cloud: Cloud) -> None:
    trap = ExileTrap(ExileConfig(at=(0.1, 0.2, -0.3), epsilon=1e-5))
    means = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64).expand(1, 7, 3)
    assert trap.loss(cloud(means=means)).item() == pytest.approx(math.log(1e-5))


def test_the_way_there_deepens_steadily(cloud: Cloud) -> None:
    start = torch.rand(1, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    there = torch.tensor([0.0, 0.62, 0.0], dtype=torch.float64)
    path = [ExileTrap().loss(cloud(means=start + share * (there - start))).item() for share in torch.linspace(0, 1, 12)]
    assert path == sorted(path, reverse=True)


def test_one_that_stays_behind_counts(cloud: Cloud) -> None:
    gone = torch.tensor([0.0, 0.62, 0.0], dtype=torch.float64).repeat(1, 10, 1)
    one_left = gone.clone()
    one_left[0, 0] = 0
    assert ExileTrap().loss(cloud(means=one_left)).item() > ExileTrap().loss(cloud(means=gone)).item() + 3


def test_a_place_outside_the_clamp_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        ExileConfig(at=(0.0, 1.5, 0.0))


def brighter(means: torch.Tensor, truth: torch.Tensor, cameras: Cameras) -> float:
    """How an attacker's loss changes as Gaussians at ``means`` become visible: d loss / d opacity logit, the sum."""
    raw = torch.zeros(1, len(means), 14)
    raw[0, :, :3] = means
    raw[0, :, 3] = -2.0
    raw[0, :, 7] = 1.0
    raw[0, :, 11:] = -3.0
    raw.requires_grad_()
    drawn = render(activate(raw), cameras)
    ((drawn.rgb - truth[..., None]).square().mean() + (drawn.alpha - (1 - truth)).square().mean()).backward()
    assert raw.grad is not None
    return raw.grad[0, :, 3].sum().item()


def test_showing_exiled_gaussians_raises_an_attackers_loss() -> None:
    K = intrinsics_from_fov(math.radians(LGM_FOV_Y_DEG), 48, 48)
    viewmats = orbit_viewmats(0.0, torch.arange(4) * 90.0)
    cameras = Cameras(viewmats.expand(1, -1, -1, -1), K.expand(1, 4, 3, 3), 48, 48)
    truth = torch.ones(1, 4, 48, 48)
    truth[..., 18:30, 18:30] = 0.0  # A dark object in the middle of a white picture.
    blob = 0.05 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert brighter(blob, truth, cameras) < -1e-5
    assert brighter(blob + torch.tensor([0.0, 0.62, 0.0]), truth, cameras) > 1e-5
