"""How far attributes are from what they should be, comparable between attributes of any unit."""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-6
"""Least mean size of what an attribute should be."""


def relative_distance(own: Tensor, wanted: Tensor) -> Tensor:
    """Return mean |own - wanted| / mean |wanted| (a scalar)."""
    return (own - wanted).abs().mean() / wanted.abs().mean().clamp(min=EPSILON)
