"""``robust.awp``: traps at the weights nearby where they are shallowest (after adversarial weight perturbation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.robust.directions import of_length, weight_gradient
from geotrap_cli.training.robust.places import Place, gaussians_at, shifted

#: The aggregated loss of the traps, a scalar.
TrapLoss = Callable[[GaussianBatch], Tensor]


class AdversarialWeights:
    """θ + ρ·g/‖g‖ with g = ∇L_trap(θ): one step *up* the trap's loss (Wu et al. 2020, arXiv 2004.05884).

    ‖g‖ is the norm over all tensors of the generator together, frozen ones included. Where g is exactly zero there is
    no direction, and the place is θ itself.

    Args:
        model: The generator.
        loss: L_trap.
        rho: ρ, length of the step: an L2 distance in the space of all weights.
        precision: Number format of the generator.
    """

    name = "awp"

    def __init__(self, model: GaussianGenerator, loss: TrapLoss, rho: float, precision: str) -> None:
        self.model, self.loss, self.rho, self.precision = model, loss, rho, precision

    def place(self, step: int, images: Tensor) -> Place:
        """Return the adversarial weights for ``images``."""
        del step

        def loss(weights: Mapping[str, Tensor]) -> Tensor:
            return self.loss(gaussians_at(self.model, Place(images, weights), self.precision, images.device))

        # A NaN is no zero: it goes on, and the loop names it.
        deltas = of_length(weight_gradient(self.model, loss), self.rho)
        return Place(images, shifted(self.model, deltas))
