"""The CUDA back end: gsplat, batched over objects and views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.render.base import BLUR, Splats


def rasterize_cuda(splats: Splats, width: int, height: int, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Render on a CUDA device; see `geotrap_cli.render.rasterize`.

    Raises:
        GeotrapError: No CUDA device, or gsplat is not installed.

    """
    rasterization = _gsplat_rasterization()
    if splats.means.shape[1] == 0:
        alpha = splats.means.new_zeros(*splats.viewmats.shape[:2], height, width)
        return alpha.unsqueeze(-1).expand(*alpha.shape, 3).clone(), alpha
    rgb, alpha, _ = rasterization(
        means=splats.means,
        quats=splats.quats,
        scales=splats.scales,
        opacities=splats.opacities,
        colors=splats.rgb,
        viewmats=splats.viewmats,
        Ks=splats.Ks,
        width=width,
        height=height,
        near_plane=near,
        far_plane=far,
        eps2d=BLUR,
        packed=False,  # an object fills its image: nearly every Gaussian is seen, so sparse intermediates only cost
        rasterize_mode="classic",
    )
    return rgb, alpha.squeeze(-1)


def _gsplat_rasterization() -> Callable[..., Any]:
    # gsplat builds its kernels on first use, and without a GPU it dies there with an unrelated ImportError.
    if not torch.cuda.is_available():
        raise GeotrapError("The CUDA rasterizer needs a CUDA device and torch sees none", hint="Use --device cpu.")
    try:
        from gsplat import rasterization
        from gsplat.cuda._backend import _C
    except ImportError as error:
        raise GeotrapError(
            f"The CUDA rasterizer cannot import gsplat ({error})", hint='Run pip install "geotrap[cuda]".'
        ) from error
    if _C is None:
        raise GeotrapError(
            "gsplat found no CUDA toolkit to build its kernels with", hint="Install nvcc and set CUDA_HOME."
        )
    return rasterization
