"""Image metrics of one render against one posed view, each returned per view.

Every function takes channel-last images ``[..., H, W, 3]`` and alpha ``[..., H, W]`` with values in [0, 1] and
returns a tensor of the leading shape: one value per view. Any other layout is refused, because a channel-first image
that is flattened against a mask still gives a plausible number.

Two values are not ordinary numbers and are never replaced:

- ``inf`` is the PSNR of identical pixels. The mean over views that contain one is ``inf`` too.
- ``nan`` means undefined: the view's ground truth has no foreground. `defined_mean` leaves such views out; which
  views they are depends on the ground truth alone, so every model is averaged over the same ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import GeotrapError

SSIM_WINDOW = 11
"""Side of the Gaussian SSIM window in pixels (Wang et al. 2004)."""
SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian SSIM window in pixels."""
FOREGROUND_DILATION = 2
"""Pixels by which the ground-truth silhouette grows before the foreground metrics look at it."""


def foreground_region(gt_alpha: Tensor, dilate: int = FOREGROUND_DILATION) -> Tensor:
    """Return the pixels ``[..., H, W]`` (bool) that the foreground metrics look at.

    A pixel belongs to the region when some pixel of non-zero ground-truth alpha is at most ``dilate`` pixels away,
    along rows and along columns (a square of side ``2 * dilate + 1``). The margin makes floaters beside the object
    count.
    """
    if dilate < 0:
        raise GeotrapError(f"the foreground cannot be dilated by {dilate} pixels", hint="Use 0 or more.")
    silhouette = (gt_alpha > 0).float().reshape(-1, 1, *gt_alpha.shape[-2:])
    grown = F.max_pool2d(silhouette, kernel_size=2 * dilate + 1, stride=1, padding=dilate)
    return (grown > 0).reshape(gt_alpha.shape)


def foreground_psnr(rgb: Tensor, gt_rgb: Tensor, gt_alpha: Tensor, dilate: int = FOREGROUND_DILATION) -> Tensor:
    """Return the PSNR in dB over `foreground_region`, all three channels of each pixel alike.

    ``nan`` where the ground truth shows no foreground, ``inf`` where the region is identical.
    """
    _check_images(rgb, gt_rgb)
    _check_alpha(gt_alpha, gt_rgb)
    region = foreground_region(gt_alpha, dilate).to(_at_least_float32(rgb).dtype)
    error = _squared_error(rgb, gt_rgb).mean(-1)
    return _psnr((error * region).sum((-2, -1)) / region.sum((-2, -1)))


def whole_psnr(rgb: Tensor, gt_rgb: Tensor) -> Tensor:
    """Return the PSNR in dB over the whole image, ``inf`` where both images are identical.

    Small objects on white make this number high whatever the model draws: report it, never judge by it.
    """
    _check_images(rgb, gt_rgb)
    return _psnr(_squared_error(rgb, gt_rgb).mean((-3, -2, -1)))


def ssim(rgb: Tensor, gt_rgb: Tensor) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), 1 for identical images.

    Gaussian window of 11 pixels with sigma 1.5, C1 = 0.01² and C2 = 0.03², mean over the channels and over the
    positions at which the window fits into the image. Computed by torchmetrics.
    """
    # torchmetrics imports torchvision where it is installed.
    ensure_torchvision()
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_images(rgb, gt_rgb)
    check_ssim_size(rgb)
    _, similarity = structural_similarity_index_measure(
        _as_nchw(rgb),
        _as_nchw(gt_rgb),
        sigma=SSIM_SIGMA,
        kernel_size=SSIM_WINDOW,
        reduction="none",
        data_range=1.0,
        return_full_image=True,
    )
    # Whether the mean takes in the mirrored border differs between torchmetrics releases: cut it off here.
    border = SSIM_WINDOW // 2
    inside = similarity[..., border:-border, border:-border]
    return inside.mean((-3, -2, -1)).reshape(rgb.shape[:-3])


def alpha_iou(alpha: Tensor, gt_alpha: Tensor, threshold: float = 0.5) -> Tensor:
    """Return intersection over union of the two silhouettes ``alpha > threshold``; ``nan`` when both are empty."""
    if alpha.shape != gt_alpha.shape:
        raise GeotrapError(f"alpha {tuple(alpha.shape)} and ground truth {tuple(gt_alpha.shape)} differ in shape")
    predicted, truth = alpha > threshold, gt_alpha > threshold
    return (predicted & truth).sum((-2, -1)).float() / (predicted | truth).sum((-2, -1)).float()


def white_floor(gt_rgb: Tensor, gt_alpha: Tensor, dilate: int = FOREGROUND_DILATION) -> Tensor:
    """Return the foreground PSNR of an all-white image: what a model scores that draws nothing."""
    return foreground_psnr(torch.ones_like(gt_rgb), gt_rgb, gt_alpha, dilate)


def defined_mean(per_view: Tensor) -> float:
    """Return the mean over the last dimension's views, leaving out undefined (``nan``) ones; ``nan`` when none is left.

    ``inf`` is not left out: a mean over views of which one is reproduced exactly is ``inf``.
    """
    return float(per_view[~per_view.isnan()].double().mean())


def check_ssim_size(rgb: Tensor) -> None:
    """Raise when an image ``[..., H, W, 3]`` is smaller than the SSIM window."""
    height, width = rgb.shape[-3], rgb.shape[-2]
    if min(height, width) < SSIM_WINDOW:
        raise GeotrapError(
            f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {width} x {height}"
        )


def _check_images(rgb: Tensor, gt_rgb: Tensor) -> None:
    if rgb.dim() < 3 or rgb.shape[-1] != 3:
        raise GeotrapError(f"images must be channel-last [..., H, W, 3], got {tuple(rgb.shape)}")
    if rgb.shape != gt_rgb.shape:
        raise GeotrapError(f"render {tuple(rgb.shape)} and ground truth {tuple(gt_rgb.shape)} differ in shape")


def _check_alpha(alpha: Tensor, rgb: Tensor) -> None:
    if alpha.shape != rgb.shape[:-1]:
        raise GeotrapError(f"alpha {tuple(alpha.shape)} does not fit images {tuple(rgb.shape)}: [..., H, W] is needed")


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _squared_error(rgb: Tensor, gt_rgb: Tensor) -> Tensor:
    return (_at_least_float32(rgb) - _at_least_float32(gt_rgb)).square()


def _psnr(mean_squared_error: Tensor) -> Tensor:
    return -10.0 * mean_squared_error.log10()


def _as_nchw(images: Tensor) -> Tensor:
    return _at_least_float32(images).reshape(-1, *images.shape[-3:]).movedim(-1, 1)
