"""The smallest LGM that has every kind of layer: it downsamples, upsamples, attends and leaves a skip unused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from geotrap_cli.models.lgm.model import LGM

MINIATURE: dict[str, Any] = {
    "down_channels": (8, 16, 16),
    "down_attention": (False, True, True),
    "up_channels": (16, 16),
    "up_attention": (True, False),
    "norm_groups": 4,
    "num_heads": 2,
    "input_size": 16,
    "splat_size": 8,
    "output_size": 16,
}


@pytest.fixture
def miniature_settings() -> dict[str, Any]:
    return dict(MINIATURE)


@pytest.fixture
def miniature() -> LGM:
    torch.manual_seed(0)
    return LGM(**MINIATURE)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(1))
