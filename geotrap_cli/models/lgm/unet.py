"""LGM's asymmetric U-Net (Tang et al., "LGM: Large Multi-View Gaussian Model", ECCV 2024, section 3.2).

Module names are those of the released weights. The resolutions go down by ``len(down_channels) - 1`` halvings and
up by ``len(up_channels) - 1`` doublings, so the first skips may stay unused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geotrap_cli.models.checkpointing import Checkpointed
from geotrap_cli.models.lgm.architecture import LAYERS_PER_BLOCK, Architecture
from geotrap_cli.models.lgm.attention import RESIDUAL_SCALE, MVAttention
from geotrap_cli.models.norm import GroupNorm

MakeAttention = Callable[[int], MVAttention]


class ResnetBlock(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut, scaled to keep the variance."""

    def __init__(self, in_channels: int, out_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(norm_groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = GroupNorm(norm_groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        same = in_channels == out_channels
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``[N, C_in, H, W]`` to ``[N, C_out, H, W]``."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return (hidden + self.shortcut(x)).mul_(RESIDUAL_SCALE)


class Stage(Checkpointed):
    """A run of residual blocks, each followed by an attention where there is one; recomputes when checkpointing."""

    def __init__(self, nets: Sequence[ResnetBlock], attns: Sequence[MVAttention | None]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.attns = nn.ModuleList(attns)  # type: ignore[arg-type]  # a None keeps its place and has no parameters

    def layer(self, index: int, x: Tensor) -> Tensor:
        """The residual block ``index`` and its attention."""
        x = self.run(self.nets[index], x)
        attention = self.attns[index]
        return x if attention is None else self.run(attention, x)


class DownBlock(Stage):
    """Residual blocks, then a strided convolution that halves the resolution (except in the last block)."""

    def __init__(
        self, in_channels: int, out_channels: int, norm_groups: int, attention: MakeAttention | None, downsample: bool
    ) -> None:
        widths = [in_channels] + [out_channels] * LAYERS_PER_BLOCK
        nets = [ResnetBlock(i, o, norm_groups) for i, o in itertools.pairwise(widths)]
        super().__init__(nets, [attention(out_channels) if attention else None for _ in nets])
        self.downsample = (
            nn.Conv2d(out_channels, out_channels, kernel_size=3, stride=2, padding=1) if downsample else None
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features and the skips they leave behind, oldest first."""
        skips = []
        for index in range(len(self.nets)):
            x = self.layer(index, x)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(Stage):
    """A residual block, then attention and a residual block, at the lowest resolution."""

    def __init__(self, channels: int, norm_groups: int, attention: MakeAttention | None) -> None:
        nets = [ResnetBlock(channels, channels, norm_groups) for _ in range(LAYERS_PER_BLOCK)]
        super().__init__(nets, [attention(channels) if attention else None for _ in nets[1:]])

    def forward(self, x: Tensor) -> Tensor:
        """Map features to features of the same shape."""
        for index in range(len(self.attns)):
            x = self.layer(index, x)
        return self.run(self.nets[-1], x)


class UpBlock(Stage):
    """Residual blocks that each take in one skip, then a doubling of the resolution (except in the last block)."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: Sequence[int],
        out_channels: int,
        norm_groups: int,
        attention: MakeAttention | None,
        upsample: bool,
    ) -> None:
        widths = [in_channels] + [out_channels] * (len(skip_channels) - 1)
        nets = [
            ResnetBlock(width + skip, out_channels, norm_groups)
            for width, skip in zip(widths, skip_channels, strict=True)
        ]
        super().__init__(nets, [attention(out_channels) if attention else None for _ in nets])
        self.upsample = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1) if upsample else None

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Consume one skip per residual block from the end of ``skips``."""
        for index in range(len(self.nets)):
            x = self.layer(index, torch.cat([x, skips.pop()], dim=1))
        if self.upsample is None:
            return x
        return self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """Features ``[B * V, 9, S, S]`` to Gaussian channels ``[B * V, 14, splat_size, splat_size]``."""

    def __init__(self, arch: Architecture, in_channels: int, out_channels: int) -> None:
        super().__init__()

        def attention(channels: int) -> MVAttention:
            return MVAttention(channels, arch.num_heads, arch.norm_groups, arch.num_views)

        width, last = arch.down_channels[0], len(arch.down_channels) - 1
        self.conv_in = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
        skips = [width]
        self.down_blocks = nn.ModuleList()
        for index, (channels, attends) in enumerate(zip(arch.down_channels, arch.down_attention, strict=True)):
            block = DownBlock(width, channels, arch.norm_groups, attention if attends else None, index < last)
            skips += [channels] * (LAYERS_PER_BLOCK + (index < last))
            self.down_blocks.append(block)
            width = channels

        self.mid_block = MidBlock(width, arch.norm_groups, attention if arch.mid_attention else None)

        last = len(arch.up_channels) - 1
        self.up_blocks = nn.ModuleList()
        for index, (channels, attends) in enumerate(zip(arch.up_channels, arch.up_attention, strict=True)):
            taken = [skips.pop() for _ in range(LAYERS_PER_BLOCK + 1)]
            make = attention if attends else None
            self.up_blocks.append(UpBlock(width, taken, channels, arch.norm_groups, make, index < last))
            width = channels

        self.norm_out = GroupNorm(arch.norm_groups, width)
        self.conv_out = nn.Conv2d(width, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the U-Net."""
        x = self.conv_in(x)
        skips = [x]
        for down in self.down_blocks:
            x, left = down(x)
            skips += left
        x = self.mid_block(x)
        for up in self.up_blocks:
            x = up(x, skips)
        return self.conv_out(F.silu(self.norm_out(x)))
