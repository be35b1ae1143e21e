from __future__ import annotations

import pytest
import torch
from geotrap_traps.dead_zone import DeadZoneConfig, DeadZoneTrap

from geotrap_cli.gaussians import CHANNELS, activate


def raw_with(**channels: float) -> torch.Tensor:
    raw = torch.zeros(1, 3, 14, dtype=torch.float64)
    for name, value in channels.items():
        raw[..., CHANNELS[name]] = value
    return raw


def only(part: str, **options: float) -> DeadZoneTrap:
    return DeadZoneTrap(DeadZoneConfig(parts=(part,), **options))


@pytest.mark.parametrize(
    ("trap", "channels", "expected"),
    [
        (only("opacity"), {"opacities": 1.5}, 7.5),
        (only("opacity"), {"opacities": -6.5}, 0.0),
        (only("opacity", opacity_margin=9), {"opacities": -6.5}, 2.5),
        (only("position"), {"means": 0.25}, 0.85),
        (only("position"), {"means": -0.25}, 0.85),
        (only("position"), {"means": -1.2}, 0.0),
        (only("color", color_margin=4), {"rgb": -3.0}, 1.0),
        (DeadZoneTrap(), {"opacities": -5.0, "means": 0.5}, 1.6),
    ],
)
def test_known_values(trap: DeadZoneTrap, channels: dict[str, float], expected: float) -> None:
    assert trap.loss(activate(raw_with(**channels))).item() == pytest.approx(expected)


def test_descent_ends_where_the_activations_are_flat(healthy_raw: torch.Tensor) -> None:
    trap = DeadZoneTrap(DeadZoneConfig(parts=("opacity", "position", "color")))
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        trap.loss(activate(raw)).sum().backward()
        optimizer.step()
    batch = activate(raw.detach().float().requires_grad_())
    assert (trap.depth(batch) == 0).all()
    assert (batch.opacities < 1 / 255).all()
    pre_activations = batch.require_raw()
    (gradient,) = torch.autograd.grad(batch.means.sum() + batch.rgb.sum(), pre_activations)
    assert (gradient[..., CHANNELS["means"]] == 0).all()
    assert (gradient[..., CHANNELS["rgb"]].abs() < 1e-6).all()


def test_the_hinge_is_silent_inside_the_dead_zone() -> None:
    raw = raw_with(opacities=-8.0, means=1.3).requires_grad_()
    DeadZoneTrap().loss(activate(raw)).sum().backward()
    assert raw.grad is not None
    assert (raw.grad == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"parts": ()},
        {"parts": ("opacity", "opacity")},
        {"parts": ("opacity",), "position_margin": 0.3},
        {"color_margin": 12.0},
        {"opacity_margin": 0.0},
    ],
)
def test_options_without_effect_or_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="DeadZoneConfig"):
        DeadZoneConfig(**options)
