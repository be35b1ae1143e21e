"""Self-attention over the pixels of all views of an object."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from geotrap_cli.models.norm import GroupNorm

RESIDUAL_SCALE: Final = math.sqrt(0.5)
"""Keeps the variance of a sum of two branches that have the same variance (LGM uses it for every residual)."""


def twice_differentiable() -> AbstractContextManager[None]:
    """Return a context in which second derivatives of attention exist: the fused kernels have none.

    With gradient checkpointing the backward passes have to lie inside too, as they call the network again. All of
    PyTorch's attention is affected, whatever the generator. It takes more time and memory.
    """
    return sdpa_kernel(SDPBackend.MATH)


class Attention(nn.Module):
    """Multi-head self-attention of tokens ``[B, T, C]`` without mask or positional encoding."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the tokens of each row of the batch."""
        batch, length, channels = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, channels))


class MVAttention(nn.Module):
    """Residual attention over the ``num_views * H * W`` pixels of an object, in (view, row, column) order."""

    def __init__(self, channels: int, num_heads: int, norm_groups: int, num_views: int) -> None:
        super().__init__()
        self.num_views = num_views
        self.norm = GroupNorm(norm_groups, channels)
        self.attn = Attention(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``[B * V, C, H, W]`` to features of the same shape."""
        flat, channels, height, width = x.shape
        tokens = self.norm(x).unflatten(0, (-1, self.num_views)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        mixed = self.attn(tokens).view(flat, height, width, channels).permute(0, 3, 1, 2)
        return (mixed + x).mul_(RESIDUAL_SCALE)
