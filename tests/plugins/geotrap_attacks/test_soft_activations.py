"""Stand-ins for activations: true values where they promise them, and slopes where the true ones are flat."""

from __future__ import annotations

import torch
from geotrap_attacks._soft_activations import softened, straight_through
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, activate


def dead() -> Tensor:
    """Means outside the cube, opacity, scale and colour deep in their flats."""
    raw = torch.zeros(1, 6, 14)
    raw[..., CHANNELS["means"]] = torch.tensor([1.5, -2.0, 30.0])
    raw[..., CHANNELS["opacities"]], raw[..., CHANNELS["scales"]] = -20.0, -20.0
    raw[..., CHANNELS["quats"]] = torch.tensor([1.0, 0.5, 0.0, 0.0])
    raw[..., CHANNELS["rgb"]] = 12.0
    return raw.requires_grad_(True)


def healthy() -> Tensor:
    return torch.randn(2, 8, 14, generator=torch.Generator().manual_seed(0)) * 0.7


def test_straight_through_renders_the_true_values_but_for_the_least_opacity() -> None:
    raw = torch.cat((healthy(), dead().detach().expand(2, -1, -1)), dim=1)
    true, seen = activate(raw), straight_through(activate(raw), 4.0, 0.02)
    for name in ("means", "scales", "quats", "rgb"):
        torch.testing.assert_close(seen.attribute(name), true.attribute(name))
    torch.testing.assert_close(seen.opacities, true.opacities.clamp(min=0.02))
    torch.testing.assert_close(straight_through(activate(raw), 4.0, 0.0).activated, true.activated)


def test_every_flat_has_a_slope_in_the_stand_ins_and_none_in_the_true_ones() -> None:
    flat = ("means", "opacities", "scales", "rgb")
    for gaussians, floor in ((activate, 0.0), (lambda raw: straight_through(activate(raw), 4.0, 0.02), 1e-3)):
        raw = dead()
        gaussians(raw).activated.sum().backward()
        assert raw.grad is not None
        for name in flat:
            slope = raw.grad[..., CHANNELS[name]].abs()
            if floor:
                assert bool((slope > (1e-4 if name == "scales" else floor)).all()), name
            else:
                assert bool((slope < 1e-8).all()), name


def test_the_slope_in_the_middle_is_the_true_one() -> None:
    raw = torch.zeros(1, 1, 14)
    raw[..., CHANNELS["quats"]] = 0.5
    slopes = []
    for gaussians in (activate, lambda x: straight_through(activate(x), 8.0, 0.0)):
        leaf = raw.clone().requires_grad_(True)
        gaussians(leaf).activated.sum().backward()
        slopes.append(leaf.grad)
    torch.testing.assert_close(slopes[0], slopes[1])


def test_soft_activations_become_the_true_ones_as_the_temperature_falls_to_one() -> None:
    raw = torch.cat((healthy(), dead().detach().expand(2, -1, -1)), dim=1)
    torch.testing.assert_close(softened(activate(raw), 1.0).activated, activate(raw).activated)
    distances = [
        float((softened(activate(raw), T).activated - activate(raw).activated).abs().sum()) for T in (1.5, 3.0, 6.0)
    ]
    assert distances == sorted(distances)


def test_soft_opacity_is_visible_where_the_true_one_is_culled() -> None:
    assert (
        float(activate(dead()).opacities.detach().max())
        < 1 / 255
        < float(softened(activate(dead()), 4.0).opacities.detach().min())
    )
