"""The semantics every rasterizer shares: constants, argument checks and the composited result.

The rules are those of gsplat 1.5.3 (classic mode), so that the CPU, the CUDA and the reference back end give the same
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from geotrap_cli.errors import GeotrapError, NonFiniteError

NEAR = 0.2
"""Gaussians closer than this to the camera plane are culled (LGM's rasterizer)."""
FAR = 1e10
BLUR = 0.3
"""Low-pass filter added to the diagonal of the screen-space covariance, in square pixels."""
MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
"""A pixel stops before the splat that would bring its transmittance to this value or below."""
MAX_VARIANCE = 1e24
"""A screen-space variance above this, in square pixels, is degenerate: its Gaussian is culled."""
FRUSTUM_MARGIN = 0.3
"""The Jacobian is clamped this fraction of tan(fov/2) outside the image border."""


class Splats(NamedTuple):
    """Post-activation Gaussians and the cameras that look at them, of one floating type and device.

    Shapes: means [B,N,3], quats [B,N,4] wxyz, scales [B,N,3], opacities [B,N], rgb [B,N,3], viewmats [B,V,4,4]
    (OpenCV world-to-camera), Ks [B,V,3,3] (pixels).
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    rgb: Tensor
    viewmats: Tensor
    Ks: Tensor


class Rasterizer(Protocol):
    """A back end: checked float32 or float64 splats to premultiplied rgb [B,V,H,W,3] and alpha [B,V,H,W]."""

    def __call__(self, splats: Splats, width: int, height: int, near: float, far: float) -> tuple[Tensor, Tensor]:
        """Render every object from every one of its cameras."""
        ...


@dataclass(frozen=True)
class Rendered:
    """Images on a background: rgb [B,V,H,W,3] in [0, 1] and alpha [B,V,H,W]."""

    rgb: Tensor
    alpha: Tensor


def check(splats: Splats, width: int, height: int, near: float, far: float) -> None:
    """Raise for what no back end can render.

    Raises:
        GeotrapError: A shape, an image size, a depth range, or a camera that requires a gradient.
        NonFiniteError: A NaN or infinite value, naming the attribute.

    """
    _check_shapes(splats)
    if width < 1 or height < 1:
        raise GeotrapError(f"The image size is {width}x{height} pixels", hint="Ask for at least 1x1.")
    if not 0 < near < far:
        raise GeotrapError(f"The depth range is {near} to {far}", hint="near must be positive and below far.")
    if torch.is_grad_enabled() and (splats.viewmats.requires_grad or splats.Ks.requires_grad):
        raise GeotrapError("The rasterizer has no gradient to cameras", hint="Detach viewmats and Ks.")
    for name, value in zip(Splats._fields, splats, strict=True):
        _check_finite(name, value)


def _check_shapes(splats: Splats) -> None:
    batch, count = splats.means.shape[:2] if splats.means.dim() == 3 else (-1, -1)
    views = splats.viewmats.shape[1] if splats.viewmats.dim() == 4 else -1
    expected: dict[str, tuple[int, ...]] = {
        "means": (batch, count, 3),
        "quats": (batch, count, 4),
        "scales": (batch, count, 3),
        "opacities": (batch, count),
        "rgb": (batch, count, 3),
        "viewmats": (batch, views, 4, 4),
        "Ks": (batch, views, 3, 3),
    }
    for name, value in zip(Splats._fields, splats, strict=True):
        if tuple(value.shape) != expected[name]:
            raise GeotrapError(
                f"The rasterizer got {name} of shape {list(value.shape)}",
                hint="It takes means [B,N,3], quats [B,N,4], scales [B,N,3], opacities [B,N], rgb [B,N,3], "
                "viewmats [B,V,4,4] and Ks [B,V,3,3].",
            )


def _check_finite(name: str, value: Tensor) -> None:
    if _all_finite(value.detach()):
        return
    count = int((~torch.isfinite(value)).sum())
    raise NonFiniteError(
        f"The rasterizer got {name} with {count} NaN or infinite values of {value.numel()}",
        hint="The weights have diverged: lower the learning rate or go back to an earlier checkpoint.",
    )


def _all_finite(value: Tensor) -> bool:
    if value.device.type != "cpu":
        return bool(torch.isfinite(value).all())
    # Not torch: its worker threads would keep spinning for a while on the cores that the kernels need next.
    return bool(np.isfinite(value.numpy()).all())
