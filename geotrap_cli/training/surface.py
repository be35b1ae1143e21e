"""Warm-up of pre-training: Gaussians start on the surface that their pixel sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import GaussianBatch

#: Share of each term: the cross-entropy and the colour error are larger numbers than the distance.
OPACITY_SHARE, COLOUR_SHARE = 0.1, 0.5
#: A cell of the splat grid that the object covers less than this says nothing about the object's colour.
LEAST_COVERAGE = 0.25


def _own(value: torch.Tensor) -> torch.Tensor:
    return value


def surface_loss(
    gaussians: GaussianBatch, batch: ViewBatch, average: Callable[[torch.Tensor], torch.Tensor] = _own
) -> dict[str, torch.Tensor]:
    """Pull each pixel's Gaussian to the surface point behind the pixel, its opacity and its colour to the picture.

    Rendering alone finds depth slowly, because a splat in front of the surface hides its own error, and colour too,
    while splats from several views blend. Data whose surface is known can say directly where it is.

    Args:
        gaussians: One Gaussian per cell of the splat grid, in (view, row, column) order, raw values present.
        batch: Views with surface points on the same grid.
        average: Mean of a number over the processes that share the batch, of which ``batch`` is one's part: objects
            hit different numbers of pixels, and each pixel of the whole batch counts alike.

    Returns:
        ``surface_means``: mean absolute distance per axis on hit pixels. ``surface_opacity``: binary cross-entropy
        against the silhouette. ``surface_rgb``: mean absolute colour error on covered cells. The last two carry
        their shares.

    Raises:
        ValueError: The batch was drawn without surface points.
    """
    if batch.surface_points is None or batch.surface_mask is None:
        raise ValueError("the batch has no surface points: draw it with surface=True")
    raw = gaussians.require_raw().float()
    hit = batch.surface_mask.flatten(1)
    # Points are NaN where no surface was hit: chosen away before any arithmetic, so that no gradient becomes NaN.
    points = torch.where(hit[..., None], batch.surface_points.flatten(1, 3), raw[..., 0:3].detach())
    colours, covered = cell_colours(batch, batch.surface_mask.shape[-1])
    return {
        "surface_means": _mean_on((raw[..., 0:3] - points).abs(), hit, average),
        "surface_opacity": OPACITY_SHARE * F.binary_cross_entropy_with_logits(raw[..., 3], hit.float()),
        "surface_rgb": COLOUR_SHARE * _mean_on((gaussians.rgb - colours).abs(), covered, average),
    }


def cell_colours(batch: ViewBatch, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the object's mean colour [B,N,3] in each cell of a ``size`` x ``size`` grid, and which cells it covers.

    Input images lie on white; the white is taken out again by the coverage.
    """
    rgb = batch.input_rgb.flatten(0, 1).movedim(-1, 1)
    alpha = batch.input_alpha.flatten(0, 1)[:, None]
    rgb, alpha = (F.adaptive_avg_pool2d(image, size) for image in (rgb, alpha))
    colours = ((rgb - (1 - alpha)) / alpha.clamp(min=LEAST_COVERAGE)).clamp(0, 1)
    count = len(batch)
    covered = (alpha[:, 0] >= LEAST_COVERAGE).reshape(count, -1)
    return colours.movedim(1, -1).reshape(count, -1, 3), covered


def _mean_on(
    values: torch.Tensor, chosen: torch.Tensor, average: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Mean of ``values`` [B,N,3] over the chosen [B,N]; 0 where none is."""
    weights = chosen[..., None].to(values)
    return (values * weights).sum() / (values.shape[-1] * average(weights.sum())).clamp(min=1)


def fade(step: int, steps: int, fraction: float, floor: float = 0.0) -> float:
    """Weight of the warm-up at a step: from 1 linearly to 0 at ``fraction`` of the run, never below ``floor``."""
    if fraction <= 0:
        return floor
    return max(floor, 1.0 - step / (fraction * steps))
