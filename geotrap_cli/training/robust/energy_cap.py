"""No tensor takes more than its share of the traps' gradient: ``robust.energy_cap``, and a defense's own cap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geotrap_cli.errors import UsageError
from geotrap_cli.training.robust.gradients import Treated


class EnergyCap:
    """Scale g_t by √(κ·ē/e_t) where e_t = ‖g_t‖² exceeds κ·ē, ē being the mean of e_t over the trained tensors.

    Keeps the traps from being met by a few tensors, which an attacker could put back as easily. Only the gradient on
    target data is treated; ē is that of the gradient as it came.

    Args:
        kappa: κ, largest energy of a tensor in units of the mean energy.
        tensors: Number of trained tensors.
        option: Dotted key that states κ, for errors.
        without: How to have no cap, for errors.

    Raises:
        UsageError: κ is so large that no tensor can exceed it.
    """

    metric = "energy_capped"

    def __init__(
        self, kappa: float, tensors: int, option: str = "robust.energy_cap", without: str = "leave it out"
    ) -> None:
        if kappa >= tensors:
            what = f"{option} = {kappa:g} never acts: {tensors} tensors are trained"
            raise UsageError(what, f"Set it below {tensors}, or {without}")
        self.kappa = kappa

    def __call__(self, trap: Sequence[Tensor], retain: Sequence[Tensor]) -> Treated:
        """Return the capped gradient and the share of tensors that were capped."""
        del retain
        energies = torch.stack([gradient.double().square().sum() for gradient in trap])
        limit = self.kappa * energies.mean()
        over = energies > limit
        # Where nothing is over the limit the factor is never used, and an energy of zero is never divided by.
        factors = torch.where(over, (limit / torch.where(over, energies, 1.0)).sqrt(), 1.0)
        capped = [gradient * factor.to(gradient.dtype) for gradient, factor in zip(trap, factors, strict=True)]
        return Treated(capped, {self.metric: float(over.double().mean())})
