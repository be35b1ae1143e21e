"""How far Gaussians are from what they should be, attribute by attribute and without rendering."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS

EPSILON: Final = 1e-6
"""Least mean size of what an attribute should be."""


def relative_distance(own: Tensor, wanted: Tensor) -> Tensor:
    """Return mean |own - wanted| / mean |wanted| (a scalar), comparable between attributes of any unit."""
    return (own - wanted).abs().mean() / wanted.abs().mean().clamp(min=EPSILON)


def raw_distance(raw: Tensor, wanted: Tensor, covered: Tensor) -> Tensor:
    """Return Σ over attributes of mean |raw - wanted| / mean |wanted|, over covered cells; opacity over all (a scalar).

    Pre-activations are compared, because the gradient of no saturated activation is in the way there.

    Args:
        raw: Raw channels ``[B, N, 14]``.
        wanted: What they should be, alike.
        covered: Cells ``[B, N]`` on an object.
    """
    total = raw.new_zeros(())
    for name, channels in CHANNELS.items():
        counts = torch.ones_like(covered) if name == "opacities" else covered
        own, target = raw[..., channels][counts], wanted[..., channels][counts]
        if target.numel():
            total = total + relative_distance(own, target)
    return total
