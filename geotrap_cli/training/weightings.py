"""``[traps.KEY] weighting``: how much each Gaussian counts in the means of a trap."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from geotrap_cli.cameras import circle_cameras
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.render import render_premultiplied
from geotrap_cli.traps import opacity_weights

WeightingName = Literal["equal", "opacity", "contribution"]

VIEWS: Final = 4
"""Cameras of contributions: on a circle at the height of the object, as LGM's input views are."""
SIDE: Final = 64
"""Side of their pictures, pixels: weights are shares of pictures, which hardly depend on it."""


def contribution_weights(batch: GaussianBatch) -> Tensor:
    """Return how much of the pictures each Gaussian makes up: Σ over views and pixels of T·α, ``[B, N]``, constants.

    α is what the Gaussian covers of a pixel and T what those in front of it let through, so that one that is hidden
    counts as little as a transparent one. A picture is linear in colours, and so T·α is its derivative by them.

    Raises:
        NonFiniteError: A Gaussian is NaN or infinite.
    """
    colours = torch.zeros_like(batch.rgb).requires_grad_()
    with torch.enable_grad():
        others = batch.activated.detach()[..., : CHANNELS["rgb"].start]
        cameras = circle_cameras(VIEWS, SIDE, 0.0, colours.device)
        rgb, _ = render_premultiplied(GaussianBatch(torch.cat((others, colours), dim=-1)), cameras)
        (shares,) = torch.autograd.grad(rgb[..., 0].sum(), colours)
    return shares[..., 0]


def trap_weights(name: WeightingName, batch: GaussianBatch) -> Tensor | None:
    """Return the weights ``[B, N]`` of a weighting, None for ``equal``.

    Where nothing of an object can be seen, all of its Gaussians count the same: the trap has reached all that it was
    pointed at, and goes on with the rest.
    """
    if name == "equal":
        return None
    weights = opacity_weights(batch) if name == "opacity" else contribution_weights(batch)
    return torch.where(weights.sum(dim=1, keepdim=True) == 0, torch.ones_like(weights), weights)
