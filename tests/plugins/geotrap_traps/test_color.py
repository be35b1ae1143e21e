from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_traps.color import ColorConfig, ColorTrap

from geotrap_cli.gaussians import GaussianBatch, activate

Cloud = Callable[..., GaussianBatch]
COLLAPSE = ColorTrap(ColorConfig(mode="collapse"))
CORNERS = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])[None]


def test_known_values(cloud: Cloud) -> None:
    box = cloud(rgb=0.5 + (CORNERS - 0.5) * torch.tensor([1.0, 0.5, 0.1]))
    largest, smallest, total = 0.25, 0.0025, 0.25 + 0.0625 + 0.0025
    assert ColorTrap().loss(box).item() == pytest.approx(-math.log((largest + 1e-6) / (smallest + 1e-6)), abs=1e-6)
    assert COLLAPSE.loss(box).item() == pytest.approx(math.log(total + 1e-6), abs=1e-6)


def test_grey_is_deep_and_constant_is_not_under_anisotropy(cloud: Cloud) -> None:
    grey = cloud(rgb=torch.linspace(0, 1, 9)[None, :, None].expand(1, 9, 3))
    constant = cloud(rgb=torch.full((1, 9, 3), 0.7))
    assert ColorTrap().loss(grey).item() < -12
    assert ColorTrap().loss(constant).item() == pytest.approx(0, abs=1e-9)


def test_constant_colour_is_deepest_under_collapse(cloud: Cloud) -> None:
    assert COLLAPSE.loss(cloud(rgb=torch.full((1, 9, 3), 0.7))).item() == pytest.approx(math.log(1e-6), abs=1e-6)


def test_the_bound_of_collapse_is_reached_by_the_corners_of_the_cube(cloud: Cloud) -> None:
    assert COLLAPSE.loss(cloud(rgb=CORNERS)).item() == pytest.approx(COLLAPSE.upper_bound)
    assert COLLAPSE.upper_bound < 0


def test_collapsing_deepens_steadily(cloud: Cloud) -> None:
    path = [COLLAPSE.loss(cloud(rgb=0.5 + (CORNERS - 0.5) * 0.5**step)).item() for step in range(12)]
    assert path == sorted(path, reverse=True)


def test_bending_onto_a_line_deepens_steadily(cloud: Cloud) -> None:
    shrink = [torch.tensor([1.0, 0.5, 0.5**step]) for step in range(1, 12)]
    path = [ColorTrap().loss(cloud(rgb=0.5 + (CORNERS - 0.5) * factors)).item() for factors in shrink]
    assert path == sorted(path, reverse=True)


def test_descent_makes_one_colour(healthy_raw: torch.Tensor) -> None:
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        COLLAPSE.loss(activate(raw)).sum().backward()
        optimizer.step()
    assert (activate(raw.detach()).rgb.std(1) < 0.3 * activate(healthy_raw).rgb.std(1)).all()
