"""Saturation by its definition: the slope of the activation, as autograd gives it, against the largest it can have."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.evaluation.saturation import ANY, CULLED, FLAT, STATES, saturated
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate

CHANNEL = {"position": "means", "opacity": "opacities", "scale": "scales", "color": "rgb"}
STEEPEST = {"position": 1.0, "opacity": 0.25, "scale": 0.1, "color": 0.5}


def free(gaussians: int = 1) -> torch.Tensor:
    """Raw channels that nothing holds: every activation at zero, where none is flat."""
    raw = torch.zeros(1, gaussians, 14, dtype=torch.float64)
    raw[..., CHANNELS["quats"].start] = 1.0
    return raw


@settings(deadline=None)
@given(st.sampled_from(sorted(CHANNEL)), st.integers(0, 2), st.floats(-12, 12))
def test_flat_means_a_small_slope(name: str, channel: int, value: float) -> None:
    raw = free()
    where = CHANNELS[CHANNEL[name]]
    index = where.start + min(channel, where.stop - where.start - 1)
    raw[0, 0, index] = value
    raw.requires_grad_()
    (slope,) = torch.autograd.grad(activate(raw).activated[0, 0, index], raw)
    share = slope[0, 0, index].item() / STEEPEST[name]
    found = saturated(activate(raw))
    if abs(share - FLAT) > 1e-9:
        assert found[name].item() is (share < FLAT)
    assert not any(found[other].item() for other in CHANNEL if other != name)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("position", 1.0, 1.001),
        ("opacity", 5.9, 6.0),
        ("opacity", -5.9, -6.0),
        ("scale", -4.59, -4.6),
        ("color", 2.99, 3.0),
        ("color", -2.99, -3.0),
    ],
)
def test_limits_are_where_the_documentation_puts_them(name: str, inside: float, outside: float) -> None:
    raw = free(2)
    raw[0, :, CHANNELS[CHANNEL[name]].start] = torch.tensor([inside, outside], dtype=torch.float64)
    assert saturated(activate(raw))[name].tolist() == [[False, True]]


def test_a_cloud_with_known_shares() -> None:
    raw = free(8)
    raw[0, :2, CHANNELS["opacities"]] = -5.6
    raw[0, 1:4, CHANNELS["means"].start] = -3.0
    raw[0, 7, CHANNELS["scales"].stop - 1] = -20.0
    raw[0, 6, CHANNELS["rgb"]] = 9.0
    found = {name: values.double().mean().item() for name, values in saturated(activate(raw)).items()}
    assert list(found) == list(STATES)
    # Opacity 1/255 has a slope of 1.6% of the largest: such a Gaussian is culled and its activation is not yet flat.
    assert found == {CULLED: 2 / 8, "position": 3 / 8, "opacity": 0, "scale": 1 / 8, "color": 1 / 8, ANY: 6 / 8}


def test_opaque_in_float32_is_flat() -> None:
    raw = free().float()
    raw[0, 0, CHANNELS["opacities"]] = 40.0
    assert saturated(activate(raw))["opacity"].item()


def test_rotations_never_count(random_free: torch.Tensor) -> None:
    raw = random_free
    raw[..., CHANNELS["quats"]] *= 1e6
    assert not saturated(activate(raw))[ANY].any()


@pytest.fixture
def random_free() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 16, 14, generator=generator) - 0.5


def test_activated_values_alone_are_not_enough() -> None:
    from geotrap_cli.errors import GeotrapError

    with pytest.raises(GeotrapError, match="no pre-activation values"):
        saturated(GaussianBatch(activate(free()).activated))
