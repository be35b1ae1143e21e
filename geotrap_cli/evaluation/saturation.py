"""Which Gaussians a rendering loss can hardly move: culled ones, and activations on the flat part of their curve."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, Activations, GaussianBatch
from geotrap_cli.render.base import MIN_ALPHA

FLAT = 0.01
"""An activation is flat where its slope is below this share of the largest slope it has anywhere."""
CULLED, ANY = "culled", "any"
FLAT_ATTRIBUTES = ("position", "opacity", "scale", "color")
"""The activations that can go flat. Normalising a quaternion never does: it has no largest slope to compare with."""
STATES = (CULLED, *FLAT_ATTRIBUTES, ANY)


def saturated(batch: GaussianBatch) -> dict[str, Tensor]:
    """Say of each Gaussian what stands between it and a rendering loss, as bool ``[B, N]`` for each of ``STATES``.

    ``culled``: opacity below 1/255, which renderers skip. ``position``, ``scale``, ``color``: at least one of the three
    channels is flat; ``opacity``: its one channel is. ``any``: one of the others. Flat means a slope below
    :data:`FLAT` of the steepest: for the clamp of positions |x| > 1, where the slope is zero; for opacities
    4·o·(1 − o) < 0.01, that is o outside [0.0025, 0.9975]; for scales σ(x) < 0.01, that is s < 0.00101 world units; for
    colours 1 − tanh²(x) < 0.01, that is c outside [0.0025, 0.9975]. These are LGM's activations; of those that other
    generators have, the identity and the exponential are never flat, and a clamped colour is outside of [0, 1].

    Raises:
        GeotrapError: The batch carries no pre-activation values.
    """
    slopes = _slopes(batch.require_raw().detach(), batch.activations)
    flat = {name: (slope < FLAT).any(dim=-1) for name, slope in slopes.items()}
    found = {CULLED: batch.opacities.detach() < MIN_ALPHA, **flat}
    return {**found, ANY: torch.stack(list(found.values())).any(dim=0)}


def _slopes(raw: Tensor, activations: Activations) -> dict[str, Tensor]:
    """Return the slope of each activation as a share of its largest, ``[B, N, C]``."""
    # In float32 the product o(1 - o) is exactly zero for opaque Gaussians, which is flat as well: no float64 needed.
    means, opacities, scales, _, rgb = (raw[..., channels] for channels in CHANNELS.values())
    opacity = torch.sigmoid(opacities)
    clamped = activations.means == "clamp"
    inside = ((rgb >= 0) & (rgb <= 1)).to(raw.dtype)
    return {
        "position": (means.abs() <= 1).to(raw.dtype) if clamped else torch.ones_like(means),
        "opacity": 4 * opacity * (1 - opacity),
        "scale": torch.sigmoid(scales) if activations.scales == "softplus" else torch.ones_like(scales),
        "color": 1 - torch.tanh(rgb).square() if activations.rgb == "tanh" else inside,
    }
