"""The U-Net of Splatter Image: the residual U-Net of score-based diffusion without its time embedding.

Structure as in Song et al., "Score-Based Generative Modeling through SDEs" (DDPM++), with the resampling and the
initialisation of Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", appendix F. Module
names are those of the published Splatter Image weights. Dropout, which acts in training only, is left out: what a
training step does has to depend on its seed and number alone.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geotrap_cli.models.checkpointing import Checkpointed
from geotrap_cli.models.norm import GroupNorm
from geotrap_cli.models.splatter_image.architecture import Architecture, norm_groups

RESIDUAL_SCALE: Final = math.sqrt(0.5)
"""Keeps the variance of a sum of two branches that have the same variance."""
NORM_EPSILON: Final = 1e-6
BRANCH_END_GAIN: Final = 1e-5
"""Fresh residual branches end in almost nothing, so that a fresh block passes its input on."""
ATTENTION_GAIN: Final = math.sqrt(0.2)
OUTPUT_GAIN: Final = 0.2

Resampling = Literal["up", "down"] | None


def convolution(in_channels: int, out_channels: int, kernel_size: int, gain: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the resolution and starts from Xavier's uniform weights, times a gain, without bias."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut, and attention over the pixels where there is one.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        attention: Whether the block attends.
        resampling: ``up`` doubles the resolution before both branches (nearest neighbour), ``down`` halves it (mean).
    """

    def __init__(
        self, in_channels: int, out_channels: int, attention: bool = False, resampling: Resampling = None
    ) -> None:
        super().__init__()
        self.resampling = resampling
        self.norm0 = _norm(in_channels)
        self.conv0 = convolution(in_channels, out_channels, 3)
        self.norm1 = _norm(out_channels)
        self.conv1 = convolution(out_channels, out_channels, 3, BRANCH_END_GAIN)
        plain = in_channels == out_channels and resampling is None
        self.skip = None if plain else convolution(in_channels, out_channels, 1)
        self.attends = attention
        if attention:
            self.norm2 = _norm(out_channels)
            self.qkv = convolution(out_channels, 3 * out_channels, 1, ATTENTION_GAIN)
            self.proj = convolution(out_channels, out_channels, 1, BRANCH_END_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``[B, C_in, H, W]`` to ``[B, C_out, H', W']``."""
        hidden = self.conv0(self._resample(F.silu(self.norm0(x))))
        hidden = self.conv1(F.silu(self.norm1(hidden)))
        shortcut = x if self.skip is None else self.skip(self._resample(x))
        x = (hidden + shortcut) * RESIDUAL_SCALE
        return (self._attend(x) + x) * RESIDUAL_SCALE if self.attends else x

    def _resample(self, x: Tensor) -> Tensor:
        if self.resampling == "up":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resampling == "down" else x

    def _attend(self, x: Tensor) -> Tensor:
        """Attention with one head; the channels of query, key and value take turns, as published."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).view(batch, channels, 3, height * width)
        query, key, value = (part.mT[:, None] for part in qkv.unbind(2))
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0]
        return self.proj(mixed.mT.reshape(batch, channels, height, width))


class SongUNet(Checkpointed):
    """Images ``[B, C_in, S, S]`` to features ``[B, C_out, S, S]``."""

    def __init__(self, arch: Architecture, in_channels: int, out_channels: int) -> None:
        super().__init__()
        levels = list(zip(arch.resolutions, arch.channels, strict=True))
        width, skips, side = arch.base_channels, [arch.base_channels], arch.input_size
        self.enc = nn.ModuleDict({f"{side}x{side}_conv": convolution(in_channels, width, 3)})
        for level, (side, channels) in enumerate(levels):
            if level > 0:
                self.enc[f"{side}x{side}_down"] = ResidualBlock(width, width, resampling="down")
                skips.append(width)
            for index in range(arch.num_blocks):
                attends = side in arch.attention_resolutions
                self.enc[f"{side}x{side}_block{index}"] = ResidualBlock(width, channels, attends)
                width = channels
                skips.append(width)
        self.dec = nn.ModuleDict()
        for level, (side, channels) in reversed(list(enumerate(levels))):
            if level == len(levels) - 1:
                self.dec[f"{side}x{side}_in0"] = ResidualBlock(width, width, attention=True)
                self.dec[f"{side}x{side}_in1"] = ResidualBlock(width, width)
            else:
                self.dec[f"{side}x{side}_up"] = ResidualBlock(width, width, resampling="up")
            for index in range(arch.num_blocks + 1):
                attends = index == arch.num_blocks and side in arch.attention_resolutions
                self.dec[f"{side}x{side}_block{index}"] = ResidualBlock(width + skips.pop(), channels, attends)
                width = channels
        self.dec[f"{side}x{side}_aux_norm"] = _norm(width)
        self.dec[f"{side}x{side}_aux_conv"] = convolution(width, out_channels, 3, OUTPUT_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Run the U-Net."""
        skips = []
        for module in self.enc.values():
            x = self.run(module, x)
            skips.append(x)
        *blocks, (_, norm), (_, conv) = self.dec.items()
        for name, module in blocks:
            x = self.run(module, torch.cat([x, skips.pop()], dim=1) if "_block" in name else x)
        return conv(F.silu(norm(x)))


def _norm(channels: int) -> GroupNorm:
    return GroupNorm(norm_groups(channels), channels, eps=NORM_EPSILON)
