"""Spread of 3-vectors over a cloud of Gaussians: second moments and their eigenvalues, in float64.

The traps on position, rotation and colour all ask one question of different vectors: how much longer than its shortest
axis is the longest axis of the spread? Eigenvalues alone have a finite gradient even where they coincide (eigenvectors
do not), so no case needs to be treated apart. Second derivatives do not exist at coinciding eigenvalues.
"""

from __future__ import annotations

import torch
from torch import Tensor


def second_moment(vectors: Tensor, weights: Tensor | None = None, centred: bool = True) -> Tensor:
    """Second moment of the vectors of each object.

    Args:
        vectors: [B, N, 3].
        weights: None for 1/N each, or [B, N] that add up to one per object.
        centred: Subtract the mean first: the covariance, with N (not N - 1) below the line.

    Returns:
        float64 [B, 3, 3], symmetric.
    """
    vectors = vectors.double()
    shares = torch.full_like(vectors[..., 0], 1.0 / vectors.shape[1]) if weights is None else weights.double()
    shares = shares[..., None]
    if centred:
        vectors = vectors - (shares * vectors).sum(dim=1, keepdim=True)
    return (shares * vectors).mT @ vectors


def eigenvalues(matrices: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices in ascending order.

    Args:
        matrices: float64 [B, 3, 3].

    Returns:
        float64 [B, 3]; NaN for a matrix that holds a NaN or an infinity, where the solver itself would raise.
    """
    finite = matrices.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
    identity = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    unharmed = torch.linalg.eigvalsh(torch.where(finite, matrices, identity))
    nan_or_zero = (matrices * 0).sum(dim=(-2, -1))
    return unharmed + nan_or_zero[:, None]


def anisotropy_loss(moments: Tensor, epsilon: float) -> Tensor:
    """Negative log ratio of the largest to the smallest eigenvalue, ``-log((λmax + ε) / (λmin + ε))``.

    With ε above and below the line the loss is never above zero, and it is exactly zero for a point or a ball. With ε
    below only it would be positive for small clouds and infinite for a point.

    Args:
        moments: float64 [B, 3, 3], positive semidefinite.
        epsilon: Smallest eigenvalue that still counts, in the squared unit of the vectors; above rounding error.

    Returns:
        float64 [B], at most zero.
    """
    values = eigenvalues(moments)
    return torch.log(values[:, 0] + epsilon) - torch.log(values[:, 2] + epsilon)
