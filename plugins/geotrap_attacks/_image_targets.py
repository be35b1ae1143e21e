"""Raw channels that an attacker can write down for its own objects without any model that knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_attacks._hull import hull_points
from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import CHANNELS, NUM_CHANNELS, GaussianBatch
from geotrap_cli.training.surface import cell_colours

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

MARGIN = 0.02
"""Opacities and colours stay this far from 0 and 1, where their pre-activations are infinite."""


def image_targets(batch: ViewBatch, size: int, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Targets for every cell of the splat grid, and which cells lie on the object.

    Opacity is the logit of the cell's coverage, colour the inverse tanh of its mean colour, the mean is the nearest
    point of the visual hull on the cell's ray, and scale and rotation are ``shape``, the same for all.

    Args:
        batch: B objects with I input views of I * size * size = N cells.
        size: Side of the splat grid.
        shape: Raw scale and quaternion [7], as :func:`source_shape` gives them.

    Returns:
        Raw channels [B, N, 14], and covered cells [B, N].
    """
    colours, covered = cell_colours(batch, size)
    targets = colours.new_zeros(*colours.shape[:2], NUM_CHANNELS)
    targets[..., CHANNELS["means"]] = hull_points(batch, size)
    coverage = F.adaptive_avg_pool2d(batch.input_alpha, size).flatten(1)
    targets[..., CHANNELS["opacities"]] = torch.logit(coverage, eps=MARGIN)[..., None]
    targets[..., CHANNELS["scales"]], targets[..., CHANNELS["quats"]] = shape[:3], shape[3:]
    targets[..., CHANNELS["rgb"]] = torch.atanh(2 * colours.clamp(MARGIN, 1 - MARGIN) - 1)
    return targets, covered


@torch.no_grad()
def released_shape(model: GaussianGenerator, context: AttackContext, objects: int) -> Tensor:
    """:func:`source_shape` of what the released model makes of ``objects`` source objects, where it still works."""
    return source_shape([model.forward_gaussians(context.source(step, 1).images) for step in range(objects)])


def source_shape(batches: list[GaussianBatch]) -> Tensor:
    """Opacity-weighted mean raw scale and mean rotation of Gaussians: [7] raw numbers.

    The mean rotation is the unit quaternion that maximises Σ w (q·q_i)², the first eigenvector of Σ w q qᵀ (Markley et
    al. 2007): it does not depend on the signs of quaternions.
    """
    raw = torch.cat([batch.require_raw().flatten(0, 1) for batch in batches]).double()
    quats = torch.cat([batch.quats.flatten(0, 1) for batch in batches]).double()
    weights = torch.cat([batch.opacities.flatten() for batch in batches]).double()
    weights = weights / weights.sum()
    scale = weights @ raw[:, CHANNELS["scales"]]
    _, vectors = torch.linalg.eigh((quats * weights[:, None]).mT @ quats)
    return torch.cat((scale, vectors[:, -1])).float()
