"""Maximum mean discrepancy of two sets of features, with a family of Gaussian kernels."""

from __future__ import annotations

import torch
from torch import Tensor

KERNELS, MULTIPLIER = 5, 2.0


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return MMD² of rows ``[M, C]`` and ``[N, C]`` with k(a, b) = Σ_i exp(−‖a − b‖²/(σ²·2^i)), i = −2 … 2.

    σ² is the mean squared distance over all pairs of different rows of both sets together, a constant for the gradient
    as in Long et al. 2015 (arXiv 1502.02791). The estimate is the biased one, means over all pairs, at least zero. Rows
    that are all equal have no distance and give zero.
    """
    rows = torch.cat((first, second)).double()
    squares = rows.square().sum(dim=-1)
    distances = (squares[:, None] + squares[None] - 2 * rows @ rows.mT).clamp(min=0)
    count = len(rows)
    bandwidth = distances.detach().sum() / max(1, count * (count - 1))
    # A NaN is no zero: it goes through.
    bandwidth = torch.where(bandwidth == 0, torch.ones_like(bandwidth), bandwidth)
    powers = torch.arange(KERNELS, device=rows.device) - KERNELS // 2
    scales = bandwidth * MULTIPLIER**powers
    kernel = sum(torch.exp(-distances / scale) for scale in scales)
    assert isinstance(kernel, Tensor)
    split = len(first)
    own = kernel[:split, :split].mean() + kernel[split:, split:].mean()
    return (own - 2 * kernel[:split, split:].mean()).to(first.dtype)
