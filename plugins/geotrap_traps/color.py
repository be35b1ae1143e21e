"""Colour trap: collinear colours, or one colour."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.covariance import anisotropy_loss, second_moment
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig

LARGEST_TOTAL_VARIANCE = 0.75
"""Three channels in [0, 1], each of variance at most 1/4 (Popoviciu's inequality)."""


class ColorConfig(TrapConfig):
    """Options of the colour trap."""

    mode: Literal["anisotropy", "collapse"] = Field(
        "anisotropy",
        description="anisotropy: colours of an object on a line; collapse: all colours of an object alike.",
    )
    epsilon: float = Field(1e-6, ge=1e-12, description="Added to the eigenvalues, or to the total variance.")


class ColorTrap(BaseTrap[ColorConfig]):
    """A loss on the covariance of the colours [B, N, 3] in [0, 1] (idea: GaussLock, arXiv 2604.09688).

    ``anisotropy``: ``-log((λmax + ε) / (λmin + ε))``. It rewards collinear colours: a healthy greyscale texture is
    deep and one constant colour scores zero.
    ``collapse``: ``log(tr Cov + ε)``, deepest for one constant colour.
    """

    key = "color"
    summary = "put the colours of an object on a line, or make them all alike"
    Config = ColorConfig

    @property
    def upper_bound(self) -> float:
        """Zero for ``anisotropy``; ``log(3/4 + ε)`` for ``collapse``, as colours lie in [0, 1]."""
        if self.config.mode == "anisotropy":
            return 0.0
        return math.log(LARGEST_TOTAL_VARIANCE + self.config.epsilon)

    @property
    def attribute(self) -> Attribute:
        """The colours."""
        return Attribute("rgb")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        covariance = second_moment(batch.rgb, weights)
        if self.config.mode == "anisotropy":
            return anisotropy_loss(covariance, self.config.epsilon)
        return torch.log(covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1) + self.config.epsilon)
