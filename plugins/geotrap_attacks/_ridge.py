"""Ridge regression from sums over batches: the data are seen once and never held together."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.errors import GeotrapError


class RidgeSums:
    """Weighted sums from which ``targets ≈ features A + a`` is solved in closed form, in float64.

    Args:
        features: Number F of features.
        targets: Number T of targets.
        device: Where the sums are.
    """

    def __init__(self, features: int, targets: int, device: torch.device | str = "cpu") -> None:
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.first = torch.zeros(features + targets, dtype=torch.float64, device=device)
        self.second = torch.zeros(features, features + targets, dtype=torch.float64, device=device)

    def add(self, features: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Take in rows: features [M, F], targets [M, T] and their weights [M], which are at least zero."""
        x, w = features.double(), weights.double()
        both = torch.cat((x, targets.double()), dim=1)
        self.total += w.sum()
        self.first += w @ both
        self.second += (x * w[:, None]).mT @ both

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return A [F, T] and a [T], the minimum of ``Σ w |features A + a - targets|² / Σ w + penalty · v |A|²``.

        v is the mean variance of the features, which makes the penalty a pure number; the intercept is not penalised.

        Raises:
            GeotrapError: All weights are zero, or a sum is not finite.
        """
        if not self.total > 0 or not bool(self.second.isfinite().all()):
            raise GeotrapError("there is nothing to fit: no row with finite features and a weight was seen")
        count = self.second.shape[0]
        mean = (self.first / self.total).cpu()
        moments = (self.second / self.total).cpu() - torch.outer(mean[:count], mean)
        covariance, cross = moments[:, :count], moments[:, count:]
        strength = penalty * covariance.diagonal().mean()
        ridge = covariance + strength * torch.eye(count, dtype=torch.float64)
        # Least squares rather than a Cholesky factor: constant features make the matrix singular.
        coefficients = torch.linalg.lstsq(ridge, cross, driver="gelsd").solution
        return coefficients, mean[count:] - mean[:count] @ coefficients
