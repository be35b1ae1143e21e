"""The reference back end: every splat at every pixel in plain torch, differentiated by autograd.

It follows the formulas of the papers (EWA splatting, Zwicker et al. 2001; 3D Gaussian splatting, Kerbl et al. 2023)
and gsplat's rules with none of the shortcuts of the fast back ends. Memory grows with pixels times Gaussians: it is for
tests and tiny problems.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geotrap_cli.render.base import (
    BLUR,
    FRUSTUM_MARGIN,
    MAX_ALPHA,
    MAX_VARIANCE,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    Splats,
)


class _Projected(NamedTuple):
    """Visible splats of one image, front to back: centres [M,2], covariances [M,2,2], opacities [M], rgb [M,3]."""

    centers: Tensor
    covariances: Tensor
    opacities: Tensor
    rgb: Tensor


def rasterize_dense(splats: Splats, width: int, height: int, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Render by the definition, on any device and in any floating type; see `geotrap_cli.render.rasterize`."""
    images = [
        _draw(_project(splats, b, v, width, height, near, far), width, height)
        for b in range(splats.viewmats.shape[0])
        for v in range(splats.viewmats.shape[1])
    ]
    shape = splats.viewmats.shape[:2]
    rgb = torch.stack([image[0] for image in images]).reshape(*shape, height, width, 3)
    return rgb, torch.stack([image[1] for image in images]).reshape(*shape, height, width)


def _project(splats: Splats, b: int, v: int, width: int, height: int, near: float, far: float) -> _Projected:
    viewmat, K = splats.viewmats[b, v], splats.Ks[b, v]
    points = splats.means[b] @ viewmat[:3, :3].T + viewmat[:3, 3]
    valid = (points[:, 2] >= near) & (points[:, 2] <= far) & (splats.opacities[b] >= MIN_ALPHA)
    valid &= splats.quats[b].norm(dim=-1) > 0
    index = torch.nonzero(valid).squeeze(-1)
    index = index[torch.argsort(points[index, 2], stable=True)]
    J = _jacobian(points[index], K, width, height)
    axes = rotation_matrices(splats.quats[b, index]) * splats.scales[b, index].unsqueeze(-2)
    screen_axes = J @ viewmat[:3, :3] @ axes
    covariances = screen_axes @ screen_axes.mT + BLUR * torch.eye(2, dtype=points.dtype, device=points.device)
    focal, center = torch.stack([K[0, 0], K[1, 1]]), torch.stack([K[0, 2], K[1, 2]])
    centers = points[index, :2] / points[index, 2:] * focal + center
    keep = (torch.diagonal(covariances, dim1=-2, dim2=-1) <= MAX_VARIANCE).all(dim=-1)
    return _Projected(centers[keep], covariances[keep], splats.opacities[b, index[keep]], splats.rgb[b, index[keep]])


def _jacobian(points: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """Jacobian of the perspective projection at camera-space points [M,3], clamped outside the image: [M,2,3]."""
    rows = []
    for axis, size in enumerate((width, height)):
        focal, center = K[axis, axis], K[axis, 2]
        margin = FRUSTUM_MARGIN * 0.5 * size / focal
        ratio = torch.clamp(points[:, axis] / points[:, 2], -center / focal - margin, (size - center) / focal + margin)
        row = torch.zeros_like(points)
        row[:, axis] = focal / points[:, 2]
        row[:, 2] = -focal * ratio / points[:, 2]
        rows.append(row)
    return torch.stack(rows, dim=1)


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] of quaternions wxyz [...,4], normalised here."""
    w, x, y, z = F.normalize(quats, dim=-1).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def _draw(splats: _Projected, width: int, height: int) -> tuple[Tensor, Tensor]:
    alphas = _alphas(splats, width, height)
    # A pixel stops before the splat that would bring its transmittance to the floor, and never starts again.
    start = alphas.new_ones(1, height, width)
    before = torch.cumprod(torch.cat([start, 1 - alphas]), dim=0)
    going = torch.cumprod((before[1:] > MIN_TRANSMITTANCE).to(alphas.dtype), dim=0)
    alphas = alphas * going
    transmittance = torch.cumprod(torch.cat([start, 1 - alphas]), dim=0)
    weights = alphas * transmittance[:-1]
    return torch.einsum("mhw,mc->hwc", weights, splats.rgb), 1 - transmittance[-1]


def _alphas(splats: _Projected, width: int, height: int) -> Tensor:
    """Opacity of every splat at every pixel [M,H,W]; capped values carry no gradient."""
    y, x = torch.meshgrid(
        torch.arange(height).to(splats.centers), torch.arange(width).to(splats.centers), indexing="ij"
    )
    offsets = torch.stack([x, y], dim=-1).reshape(1, -1, 2) + 0.5 - splats.centers.unsqueeze(1)
    sigmas = 0.5 * torch.einsum("mpi,mij,mpj->mp", offsets, torch.linalg.inv(splats.covariances), offsets)
    alphas = splats.opacities.unsqueeze(-1) * torch.exp(-sigmas)
    alphas = torch.where(alphas > MAX_ALPHA, torch.full_like(alphas, MAX_ALPHA), alphas)
    alphas = torch.where(alphas < MIN_ALPHA, torch.zeros_like(alphas), alphas)
    return alphas.unflatten(-1, (height, width))
