"""The smallest Splatter Image that has every kind of layer, and a posed view at rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.batch import generator_input
from geotrap_cli.models.splatter_image.model import SplatterImage

MINIATURE: dict[str, Any] = {
    "base_channels": 8,
    "channel_mult": (1, 2),
    "num_blocks": 1,
    "attention_resolutions": (8,),
    "input_size": 16,
    "output_size": 16,
}


@pytest.fixture
def miniature() -> SplatterImage:
    torch.manual_seed(0)
    return SplatterImage(**MINIATURE)


@pytest.fixture
def cameras() -> Cameras:
    Ks = intrinsics_from_fov(math.radians(40.0), 16, 16)
    return Cameras(orbit_viewmats(0.0, torch.zeros(2, 1)), Ks.expand(2, 1, 3, 3), 16, 16)


@pytest.fixture
def images(cameras: Cameras) -> Tensor:
    rgb = torch.rand(2, 1, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    return generator_input(rgb, cameras)
