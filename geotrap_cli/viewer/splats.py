"""Gaussians in the form that splat renderers in browsers take: means, covariances, colours, opacities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render.base import MIN_ALPHA
from geotrap_cli.render.dense import rotation_matrices

Array = npt.NDArray[np.float32]

ENLARGED = 10.0
"""Units of the scene per world unit: the browser has covariances in half precision, which ends near 1e-7."""


@dataclass(frozen=True)
class Splats:
    """Visible Gaussians of one object.

    Attributes:
        means: [n, 3], scene units.
        covariances: [n, 3, 3], scene units squared.
        rgb: [n, 3] in [0, 1].
        opacities: [n, 1] in [0, 1].
    """

    means: Array
    covariances: Array
    rgb: Array
    opacities: Array

    def __len__(self) -> int:
        return len(self.means)


def to_splats(activated: Tensor) -> Splats:
    """Return those Gaussians ``[n, 14]`` that the rasteriser would draw, enlarged by ``ENLARGED``."""
    one = GaussianBatch(activated.detach().float().cpu()[None])
    drawn = one.opacities[0] >= MIN_ALPHA
    means, rgb, opacities = one.means[0, drawn], one.rgb[0, drawn], one.opacities[0, drawn]
    covariances = covariance_matrices(one.scales[0, drawn], one.quats[0, drawn])
    parts = (ENLARGED * means, ENLARGED**2 * covariances, rgb, opacities[:, None])
    return Splats(*(part.contiguous().numpy() for part in parts))


def covariance_matrices(scales: Tensor, quats: Tensor) -> Tensor:
    """Return ``R diag(s²) Rᵀ`` ``[n, 3, 3]`` of standard deviations ``[n, 3]`` along the axes of wxyz ``[n, 4]``."""
    axes = rotation_matrices(quats) * scales[:, None, :]
    return torch.matmul(axes, axes.mT)
