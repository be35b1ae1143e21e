from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_traps.position import PositionConfig, PositionTrap

from geotrap_cli.gaussians import GaussianBatch, activate

Cloud = Callable[..., GaussianBatch]
AXES = torch.eye(3, dtype=torch.float64)


def cross(lengths: tuple[float, float, float]) -> torch.Tensor:
    """Six points at ± length on the axes: covariance diag(length² / 3)."""
    arms = AXES * torch.tensor(lengths, dtype=torch.float64)
    return torch.cat([arms, -arms])[None]


def test_known_value(cloud: Cloud) -> None:
    loss = PositionTrap().loss(cloud(means=cross((0.6, 0.3, 0.03)) + 0.2))
    assert loss.item() == pytest.approx(-math.log((0.12 + 1e-6) / (3e-4 + 1e-6)), abs=1e-9)


def test_ball_and_point_score_zero(cloud: Cloud) -> None:
    trap = PositionTrap()
    assert trap.loss(cloud(means=cross((0.5, 0.5, 0.5)))).item() == pytest.approx(0, abs=1e-9)
    assert trap.loss(cloud(means=torch.full((1, 6, 3), 0.3))).item() == pytest.approx(0, abs=1e-9)


def test_turning_and_moving_the_cloud_changes_nothing(cloud: Cloud) -> None:
    means = cross((0.6, 0.3, 0.03))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    trap = PositionTrap()
    torch.testing.assert_close(trap.loss(cloud(means=means @ turn + 0.1)), trap.loss(cloud(means=means)))


def test_flattening_deepens_steadily(cloud: Cloud) -> None:
    path = [PositionTrap().loss(cloud(means=cross((0.5, 0.4, 0.4 * 0.5**step)))).item() for step in range(12)]
    assert path == sorted(path, reverse=True)
    assert path[-1] < path[0] - 8


def test_descent_flattens_the_cloud(healthy_raw: torch.Tensor) -> None:
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.03)
    before = torch.linalg.svdvals(activate(raw).means.detach() - activate(raw).means.detach().mean(1, keepdim=True))
    for _ in range(40):
        optimizer.zero_grad()
        PositionTrap().loss(activate(raw)).sum().backward()
        optimizer.step()
    means = activate(raw.detach()).means
    after = torch.linalg.svdvals(means - means.mean(1, keepdim=True))
    assert (after[:, 2] / after[:, 0] < 0.3 * before[:, 2] / before[:, 0]).all()


def test_weights_see_through_an_invisible_plate(cloud: Cloud) -> None:
    means = torch.cat([cross((0.5, 0.5, 0.5)), torch.rand(1, 60, 3).double() * torch.tensor([2.0, 2.0, 0.0]) - 1], 1)
    batch = cloud(means=means, opacities=(torch.arange(66) < 6).double()[None, :, None])
    trap = PositionTrap()
    assert trap.loss(batch).item() < -0.5
    assert trap.loss(batch, batch.opacities).item() == pytest.approx(0, abs=1e-9)


def test_epsilon_sets_the_floor(cloud: Cloud) -> None:
    plate = cloud(means=cross((0.5, 0.5, 0.0)))
    for epsilon in (1e-3, 1e-9):
        loss = PositionTrap(PositionConfig(epsilon=epsilon)).loss(plate).item()
        assert loss == pytest.approx(-math.log((0.25 / 3 + epsilon) / epsilon), rel=1e-6)
