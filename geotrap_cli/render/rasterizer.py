"""One entry point over the back ends: pick by device, check, cast, render."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras
from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render.base import FAR, NEAR, Rasterizer, Rendered, Splats, check
from geotrap_cli.usage import count_pixels


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    rgb: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near: float = NEAR,
    far: float = FAR,
) -> tuple[Tensor, Tensor]:
    """Splat 3D Gaussians (Kerbl et al. 2023) with gsplat 1.5.3's rules, on the device of `means`.

    Computes in float32 whatever autocast says, or in float64 if `means` is float64 (CPU only).

    Args:
        means: Centres in world space [B,N,3].
        quats: Rotations wxyz [B,N,4], normalised inside; a zero quaternion culls its Gaussian.
        scales: Standard deviations along the axes in world units [B,N,3].
        opacities: In [0, 1], [B,N].
        rgb: Colours [B,N,3].
        viewmats: OpenCV world-to-camera matrices [B,V,4,4]. No gradient.
        Ks: Intrinsics in pixels [B,V,3,3], without skew. No gradient.
        width: Image width in pixels.
        height: Image height in pixels.
        near: Gaussians with a smaller camera-space depth are culled.
        far: Gaussians with a larger camera-space depth are culled.

    Returns:
        Premultiplied rgb [B,V,H,W,3] on black, not clamped, and alpha [B,V,H,W].

    Raises:
        GeotrapError: Shapes that do not fit, cameras that require a gradient, or a missing back end.
        NonFiniteError: A NaN or infinite value in an input, naming it.

    """
    backend = _backend(means.device)
    real = torch.float64 if means.dtype == torch.float64 and means.device.type == "cpu" else torch.float32
    tensors = (means, quats, scales, opacities, rgb, viewmats, Ks)
    with torch.autocast(means.device.type, enabled=False):
        splats = Splats(*(tensor.to(means.device, real) for tensor in tensors))
        check(splats, width, height, near, far)
        count_pixels(splats.viewmats.shape[0] * splats.viewmats.shape[1] * width * height)
        return backend(splats, width, height, near, far)


def render(batch: GaussianBatch, cameras: Cameras, background: float = 1.0) -> Rendered:
    """Render Gaussians from cameras onto a grey background, as LGM does.

    Args:
        batch: B objects.
        cameras: viewmats [B,V,4,4] or, the same for every object, [V,4,4]; Ks alike.
        background: Grey level in [0, 1].

    Returns:
        rgb [B,V,H,W,3] composited and clamped to [0, 1], alpha [B,V,H,W].

    Raises:
        GeotrapError, NonFiniteError: See `rasterize`.

    """
    rgb, alpha = render_premultiplied(batch, cameras)
    composited = rgb + background * (1.0 - alpha).unsqueeze(-1)
    return Rendered(composited.clamp(0.0, 1.0), alpha)


def render_premultiplied(batch: GaussianBatch, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Render Gaussians without a background: arguments and errors of `render`, results of `rasterize`."""
    viewmats = cameras.viewmats.expand(len(batch), *cameras.viewmats.shape[-3:])
    Ks = cameras.Ks.expand(len(batch), *cameras.Ks.shape[-3:])
    return rasterize(
        batch.means,
        batch.quats,
        batch.scales,
        batch.opacities,
        batch.rgb,
        viewmats,
        Ks,
        cameras.width,
        cameras.height,
    )


def _backend(device: torch.device) -> Rasterizer:
    # Imported on use: numba costs half a second, gsplat exists on GPU machines only.
    if device.type == "cpu":
        from geotrap_cli.render.cpu import rasterize_cpu

        return rasterize_cpu
    if device.type == "cuda":
        from geotrap_cli.render.cuda import rasterize_cuda

        return rasterize_cuda
    raise GeotrapError(f"No rasterizer for device {device}", hint="Use --device cpu or --device cuda.")
