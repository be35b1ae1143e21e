"""Stand-ins for LGM's activations that let gradients through where the true ones are flat."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, SCALE_FACTOR, GaussianBatch


def straight_through(batch: GaussianBatch, temperature: float, least_opacity: float) -> GaussianBatch:
    """True values forward, slopes of softer functions backward (BPDA, Athalye et al. 2018).

    Backward the clamp is the identity, and sigmoid, softplus and tanh are ``T f(x / T)``: as steep in the middle, T
    times as wide. Opacities are lifted to ``least_opacity``, because a renderer culls fainter splats, and no stand-in
    for an activation gives a culled splat a gradient.

    Args:
        batch: What the true activations give, with its pre-activations.
        temperature: T, at least 1; 1 leaves only the clamp's slope changed.
        least_opacity: Smallest opacity that is rendered.
    """
    x, T = _parts(batch.require_raw()), temperature
    values = (
        _with_slope(batch.means, x["means"]),
        _with_slope(batch.attribute("opacities").clamp(min=least_opacity), T * torch.sigmoid(x["opacities"] / T)),
        _with_slope(batch.scales, SCALE_FACTOR * T * F.softplus(x["scales"] / T)),
        batch.quats,
        _with_slope(batch.rgb, 0.5 * T * torch.tanh(x["rgb"] / T)),
    )
    return replace(batch, activated=torch.cat(values, dim=-1))


def softened(batch: GaussianBatch, temperature: float) -> GaussianBatch:
    """Flatter functions forward and backward: sigmoid, softplus and tanh of ``x / T``, and a leaky clamp.

    The clamp leaks ``1 - 1/T`` of what lies outside. At T = 1 everything is as in the released model.

    Args:
        batch: What the true activations give, with its pre-activations.
        temperature: T, at least 1.
    """
    x, T = _parts(batch.require_raw()), temperature
    values = (
        batch.means + (1 - 1 / T) * (x["means"] - batch.means),
        torch.sigmoid(x["opacities"] / T),
        SCALE_FACTOR * F.softplus(x["scales"] / T),
        batch.quats,
        0.5 * torch.tanh(x["rgb"] / T) + 0.5,
    )
    return replace(batch, activated=torch.cat(values, dim=-1))


def _parts(raw: Tensor) -> dict[str, Tensor]:
    return {name: raw[..., channels] for name, channels in CHANNELS.items()}


def _with_slope(value: Tensor, stand_in: Tensor) -> Tensor:
    """The value of one tensor with the gradient of the other."""
    return value.detach() + (stand_in - stand_in.detach())
