"""Distillation in image space: the distance of what the Gaussians look like."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import render_premultiplied


def render_distillation(student: GaussianBatch, teacher: GaussianBatch, cameras: Cameras) -> Tensor:
    """Return the mean squared error of the premultiplied rgb and alpha of both clouds, over B·V·H·W·4 (a scalar).

    With δc and δa the differences of premultiplied rgb and of alpha, an image on a background b differs by δc − b·δa;
    both are compared, so that what agrees here agrees on every background. Nothing is clamped, so a gradient exists
    for every pixel that a Gaussian reaches. The error is squared because that is what a PSNR is made of:
    −10·log10 of the result is the PSNR in dB against the undefended generator, over four channels in [0, 1].

    Args:
        student: Gaussians of the model that is trained; the gradient goes to them.
        teacher: Gaussians of the undefended model on the same input, a constant.
        cameras: V views of each object, ``[B, V, 4, 4]`` and ``[B, V, 3, 3]``.

    Raises:
        NonFiniteError: A Gaussian is NaN or infinite.
    """
    with torch.no_grad():
        seen = _rendered(teacher, cameras)
    return (_rendered(student, cameras) - seen).pow(2).mean()


def _rendered(batch: GaussianBatch, cameras: Cameras) -> Tensor:
    """Premultiplied rgb and alpha, ``[B, V, H, W, 4]``."""
    rgb, alpha = render_premultiplied(batch, cameras)
    return torch.cat((rgb, alpha.unsqueeze(-1)), dim=-1)
