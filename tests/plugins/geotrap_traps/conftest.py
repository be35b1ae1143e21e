from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate


@pytest.fixture
def healthy_raw() -> Tensor:
    """Pre-activations of two objects of 24 Gaussians: nothing clamped, saturated or tied."""
    generator = torch.Generator().manual_seed(5)
    raw = torch.randn(2, 24, 14, generator=generator, dtype=torch.float64)
    raw[..., CHANNELS["means"]] = raw[..., CHANNELS["means"]].clamp(-2.5, 2.5) / 3
    return raw


@pytest.fixture
def healthy(healthy_raw: Tensor) -> GaussianBatch:
    return activate(healthy_raw)


@pytest.fixture
def cloud(healthy: GaussianBatch) -> Callable[..., GaussianBatch]:
    """Build a cloud without pre-activations from some attributes [B, N, C]; the others are those of a healthy one."""

    def build(**attributes: Tensor) -> GaussianBatch:
        batch_size, count = next(iter(attributes.values())).shape[:2]
        activated = healthy.activated[:1, :1].repeat(batch_size, count, 1)
        for name, value in attributes.items():
            activated[..., CHANNELS[name]] = value.to(activated)
        return GaussianBatch(activated)

    return build
