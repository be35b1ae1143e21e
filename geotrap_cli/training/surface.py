"""Warm-up of pre-training: Gaussians start on the surface that their pixel sees."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from geotrap_cli.gaussians import GaussianBatch


def surface_loss(gaussians: GaussianBatch, points: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pull each pixel's Gaussian to the surface point behind the pixel and its opacity to the silhouette.

    Rendering alone finds depth slowly, because a splat in front of the surface hides its own error. Data whose
    surface is known can say directly where it is.

    Args:
        gaussians: One Gaussian per pixel of the splat grid, in (view, row, column) order, raw values present.
        points: Surface points [B,V,h,w,3] in the first-view frame, anything where the mask is False.
        mask: Whether the pixel's ray meets the object, bool [B,V,h,w].

    Returns:
        ``surface_means``: mean absolute distance per axis on hit pixels. ``surface_opacity``: binary cross-entropy.
    """
    hit = mask.flatten(1)
    raw = gaussians.require_raw().float()
    distance = (raw[..., 0:3] - torch.where(hit[..., None], points.flatten(1, 3), raw[..., 0:3].detach())).abs()
    means = distance.sum() / (3 * hit.sum().clamp(min=1))
    opacity = F.binary_cross_entropy_with_logits(raw[..., 3], hit.float())
    return {"surface_means": means, "surface_opacity": opacity}


def fade(step: int, steps: int, fraction: float) -> float:
    """Weight of the warm-up at a step: from 1 linearly to 0 at ``fraction`` of the run, then 0."""
    if fraction <= 0:
        return 0.0
    return max(0.0, 1.0 - step / (fraction * steps))
