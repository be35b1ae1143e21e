"""Exile trap: gather all Gaussians at a place where no object is."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig, weighted_mean

Coordinate = Annotated[float, Field(ge=-1.0, le=1.0)]


class ExileConfig(TrapConfig):
    """Options of the exile trap."""

    at: tuple[Coordinate, Coordinate, Coordinate] = Field(
        (0.0, 0.62, 0.0),
        description="Where the Gaussians go (x, y up, z): in sight of the cameras, in front of nothing but background.",
    )
    epsilon: float = Field(
        1e-3, ge=1e-12, description="Added to the mean squared distance, in squared world units; bounds the depth."
    )


class ExileTrap(BaseTrap[ExileConfig]):
    """``log(mean ‖means − at‖² + ε)`` of the means [B, N, 3] (idea and form: this program).

    A rendering loss pulls a Gaussian no further than its footprint reaches. One that covers background raises the loss
    as it becomes visible, whatever its colour, so an attacker's gradient makes it more transparent and never leads it
    back to the object: with the ``opacity`` trap, a white picture becomes a local minimum of the attacker's loss rather
    than a flat spot of an activation. The logarithm of the mean, not the mean of logarithms: one Gaussian left on the
    object would be a way back.
    """

    key = "exile"
    summary = "gather all Gaussians where no object is, so that showing them is no way back"
    Config = ExileConfig

    @property
    def upper_bound(self) -> None:
        """None: a cloud that is more than a unit away scores above zero."""
        return None

    @property
    def attribute(self) -> Attribute:
        """The centres."""
        return Attribute("means")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        means = batch.means.double()
        squared = (means - means.new_tensor(self.config.at)).square().sum(dim=-1)
        return torch.log(weighted_mean(squared, weights) + self.config.epsilon)
