"""Group normalisation that can be trained where nothing before it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``, of which weight and bias alone may be trained.

    PyTorch's CPU kernel for channels-last gradients writes the gradient of the input even where none is asked for, and
    the process dies (seen with 2.13). Asked for, that gradient ends at a tensor that nothing else knows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]`` over the channels of each group."""
        trained = self.weight.requires_grad or self.bias.requires_grad
        if trained and torch.is_grad_enabled() and not x.requires_grad and x.device.type == "cpu":
            x = x.detach().requires_grad_()
        return super().forward(x)
