"""One number of each Gaussian for each attribute that a trap acts on, with the bins it is counted in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geotrap_cli.covariance import second_moment
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render.dense import rotation_matrices

Spacing = Literal["linear", "log", "logit"]
BINS = 60


@dataclass(frozen=True)
class Attribute:
    """A number of each Gaussian.

    Attributes:
        label: What it is, with its unit.
        spacing: On which scale the bins are equally wide.
        low: Lower edge of the first bin, which also counts what lies below.
        high: Upper edge of the last bin, which also counts what lies above.
        measure: Gives it as ``[B, N]``; NaN where it is undefined.
    """

    label: str
    spacing: Spacing
    low: float
    high: float
    measure: Callable[[GaussianBatch], Tensor]

    def edges(self) -> NDArray[np.float64]:
        """Return the edges of the bins, ascending, one more than there are bins."""
        if self.spacing == "linear":
            return np.linspace(self.low, self.high, BINS + 1)
        if self.spacing == "log":
            return np.geomspace(self.low, self.high, BINS + 1)
        low, high = (np.log(value / (1 - value)) for value in (self.low, self.high))
        return np.asarray(1 / (1 + np.exp(-np.linspace(low, high, BINS + 1))))


def longest_axes(batch: GaussianBatch) -> Tensor:
    """Return the unit vector along the longest axis of each Gaussian, float64 ``[B, N, 3]``."""
    rotations = rotation_matrices(batch.quats.double())
    longest = batch.scales.argmax(dim=-1)[..., None, None].expand(-1, -1, 3, 1)
    return rotations.gather(-1, longest).squeeze(-1)


def _centroid_distance(batch: GaussianBatch) -> Tensor:
    return (batch.means - batch.means.mean(dim=1, keepdim=True)).norm(dim=-1)


def _anisotropy(batch: GaussianBatch) -> Tensor:
    # A size that underflows along one axis gives infinity, along all three NaN: both are what they say.
    return batch.scales.amax(dim=-1) / batch.scales.amin(dim=-1)


def _axis_alignment(batch: GaussianBatch) -> Tensor:
    axes = longest_axes(batch)
    main = torch.linalg.eigh(second_moment(axes, centred=False)).eigenvectors[..., -1]
    return (axes * main[:, None]).sum(dim=-1).abs()


def _color_distance(batch: GaussianBatch) -> Tensor:
    return (batch.rgb - batch.rgb.mean(dim=1, keepdim=True)).norm(dim=-1)


ATTRIBUTES: dict[str, Attribute] = {
    "centroid_distance": Attribute("distance from centroid", "linear", 0.0, 3**0.5, _centroid_distance),
    "opacity": Attribute("opacity", "logit", 1e-6, 1 - 1e-6, lambda batch: batch.opacities),
    "largest_scale": Attribute("largest scale", "log", 1e-5, 1.0, lambda batch: batch.scales.amax(dim=-1)),
    "anisotropy": Attribute("anisotropy, max/min scale", "log", 1.0, 1e4, _anisotropy),
    "axis_alignment": Attribute("alignment with the main axis", "linear", 0.0, 1.0, _axis_alignment),
    "color_distance": Attribute("distance from mean colour", "linear", 0.0, 3**0.5, _color_distance),
}
"""The attributes by their name in files: means, opacities, scales (two), rotations and colours.

Distances are world units for positions and [0, √3] for colours. The alignment is |r · a|, r the longest axis of the
Gaussian and a the axis that most of its object's Gaussians share: the first eigenvector of the mean of r rᵀ. Axes in
all directions spread it evenly over [0, 1]; parallel axes put it at 1. For a round Gaussian, r means nothing.
"""
