"""Fold LGM's last 1x1 convolution into the convolution before it.

Nothing nonlinear stands between ``unet.conv_out`` (3x3) and ``conv`` (1x1), so their composition is one 3x3
convolution. As released, the pair offers defender and attacker alike a shortcut of 210 parameters that acts on all
Gaussians at once.
"""

from __future__ import annotations

import torch
from torch import nn


def compose(first: nn.Conv2d, second: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution equal to ``second(first(x))``, where ``second`` is 1x1.

    With ``W``, ``b`` of ``first`` and ``M``, ``c`` of ``second``: weight ``M W`` over channels, bias ``M b + c``.
    Computed in float64.
    """
    mix = second.weight.double().flatten(1)
    weight = torch.einsum("om,mihw->oihw", mix, first.weight.double())
    bias = mix @ _bias(first) + _bias(second)
    return weight, bias


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    return conv.weight.new_zeros(conv.out_channels, dtype=torch.float64) if conv.bias is None else conv.bias.double()


@torch.no_grad()
def fold_into(first: nn.Conv2d, second: nn.Conv2d) -> None:
    """Make ``first`` compute what ``second(first(x))`` does; in place, so optimizers keep their parameters."""
    weight, bias = compose(first, second)
    first.weight.copy_(weight)
    if first.bias is not None:
        first.bias.copy_(bias)
