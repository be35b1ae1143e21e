"""The whole network against a second writing of it: plain functions over the state dict, one view loop, no modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.models.lgm.model import LGM


class Reference:
    """LGM as the paper and the released weights define it, told by parameter names."""

    def __init__(self, model: LGM) -> None:
        self.state = model.state_dict()
        self.groups, self.heads = model.config.norm_groups, model.config.num_heads

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.state

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        grouped = x.reshape(x.shape[0], self.groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        scaled = (centred / (grouped.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()).reshape(x.shape)
        return scaled * self.state[f"{name}.weight"][:, None, None] + self.state[f"{name}.bias"][:, None, None]

    def resnet(self, name: str, x: Tensor) -> Tensor:
        hidden = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)))
        hidden = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", hidden)))
        skip = self.conv(f"{name}.shortcut", x) if self.has(f"{name}.shortcut") else x
        return (hidden + skip) * 0.5**0.5

    def attend(self, name: str, x: Tensor) -> Tensor:
        if not self.has(f"{name}.norm"):
            return x
        views, channels, height, width = x.shape
        tokens = self.norm(f"{name}.norm", x).movedim(1, -1).reshape(-1, channels)
        qkv = (tokens @ self.state[f"{name}.attn.qkv.weight"].T).reshape(len(tokens), 3, self.heads, -1)
        q, k, v = qkv.movedim(0, 2)
        mixed = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).movedim(0, 1).reshape(-1, channels)
        mixed = mixed @ self.state[f"{name}.attn.proj.weight"].T + self.state[f"{name}.attn.proj.bias"]
        return (mixed.reshape(views, height, width, channels).movedim(-1, 1) + x) * 0.5**0.5

    def down(self, name: str, x: Tensor, skips: list[Tensor]) -> Tensor:
        for layer in range(2):
            x = self.attend(f"{name}.attns.{layer}", self.resnet(f"{name}.nets.{layer}", x))
            skips.append(x)
        if self.has(f"{name}.downsample"):
            x = self.conv(f"{name}.downsample", x, stride=2)
            skips.append(x)
        return x

    def up(self, name: str, x: Tensor, skips: list[Tensor]) -> Tensor:
        for layer in range(3):
            x = self.resnet(f"{name}.nets.{layer}", torch.cat([x, skips.pop()], dim=1))
            x = self.attend(f"{name}.attns.{layer}", x)
        if not self.has(f"{name}.upsample"):
            return x
        return self.conv(f"{name}.upsample", x.repeat_interleave(2, -1).repeat_interleave(2, -2))

    def __call__(self, views: Tensor, downs: int, ups: int) -> Tensor:
        x = self.conv("unet.conv_in", views)
        skips = [x]
        for index in range(downs):
            x = self.down(f"unet.down_blocks.{index}", x, skips)
        x = self.attend("unet.mid_block.attns.0", self.resnet("unet.mid_block.nets.0", x))
        x = self.resnet("unet.mid_block.nets.1", x)
        for index in range(ups):
            x = self.up(f"unet.up_blocks.{index}", x, skips)
        x = self.conv("conv", self.conv("unet.conv_out", F.silu(self.norm("unet.norm_out", x))))
        return x.movedim(1, -1).reshape(-1, 14)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"down_attention": (True, False, True), "mid_attention": False, "up_attention": (False, True)},
        {"up_channels": (16, 16, 8), "up_attention": (False, False, True), "splat_size": 16},
        {"up_channels": (16,), "up_attention": (True,), "splat_size": 4, "num_views": 3},
    ],
)
def test_the_network_equals_its_definition(miniature_settings: dict[str, Any], change: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = LGM(**(miniature_settings | change)).double()
    for parameter in model.parameters():  # default norms and biases would hide a wrong one
        torch.nn.init.normal_(parameter, std=0.3)
    views = torch.randn(2, model.num_views, 9, 16, 16, dtype=torch.float64)
    reference = Reference(model)
    expected = [reference(object_views, 3, len(model.config.up_channels)) for object_views in views]
    torch.testing.assert_close(model(views), torch.stack(expected), rtol=1e-9, atol=1e-9)
