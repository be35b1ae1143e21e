"""Position trap: flatten the cloud of means to a plane or a line."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from geotrap_cli.covariance import anisotropy_loss, second_moment
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig


class PositionConfig(TrapConfig):
    """Options of the position trap."""

    epsilon: float = Field(1e-6, ge=1e-12, description="Added to both eigenvalues, in squared world units.")


class PositionTrap(BaseTrap[PositionConfig]):
    """``-log((λmax + ε) / (λmin + ε))`` of the covariance of the means [B, N, 3] (idea: GaussLock, arXiv 2604.09688).

    A thin plate is deep before any defense and a cloud that shrinks to a point scores zero, so read the depth relative
    to the undefended model on the same object.
    """

    key = "position"
    summary = "flatten the cloud of Gaussian centres to a plane or a line"
    Config = PositionConfig

    @property
    def upper_bound(self) -> float:
        """Zero, reached by a ball and by a point."""
        return 0.0

    @property
    def attribute(self) -> Attribute:
        """The centres."""
        return Attribute("means")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        return anisotropy_loss(second_moment(batch.means, weights), self.config.epsilon)
