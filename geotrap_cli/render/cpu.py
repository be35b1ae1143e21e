"""The CPU back end: numba kernels as one differentiable torch function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from geotrap_cli.render.base import Splats
from geotrap_cli.render.cpu_scene import Scene


def rasterize_cpu(splats: Splats, width: int, height: int, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Render on the CPU; see `geotrap_cli.render.rasterize`. Gradients flow to all but the cameras."""
    rgb, alpha = _Rasterize.apply(*splats, width, height, near, far)
    return rgb, alpha


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, width, height, near, far = arguments
        scene = Scene(Splats(*tensors), width, height)
        rgb, alpha = scene.forward(near, far)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*tensors)
            ctx.scene = scene
        return torch.from_numpy(rgb), torch.from_numpy(alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_rgb: Tensor, to_alpha: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises if a splat was changed in place since the forward pass
        gradients = ctx.scene.backward(to_rgb.numpy(), to_alpha.numpy())
        return (*(torch.from_numpy(gradient) for gradient in gradients), *(None,) * 6)
