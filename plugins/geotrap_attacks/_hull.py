"""Where a pixel's surface may lie, from silhouettes alone: the visual hull (Laurentini 1994).

An attacker has posed images with alpha. A point can belong to the object only if every view that sees it sees the
object there; the first such point along a pixel's ray bounds the surface from outside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.cameras import Cameras, pixel_directions
from geotrap_cli.data.views import ViewBatch

SAMPLES = 96
"""Points tried along a ray."""
REACH = 1.0
"""The object lies within this distance of the origin, world units: the cube of LGM's positions."""
COVERED = 0.5
"""Alpha from which a pixel counts as object."""


@torch.no_grad()
def hull_points(batch: ViewBatch, size: int) -> Tensor:
    """First point on each input pixel's ray that most views hold for object, in (view, row, column) order.

    A perfect set of silhouettes agrees on every point of the object; where the grid or a soft edge leaves no point on
    which all views agree, the first of those with the most views is taken.

    Args:
        batch: B objects with I input views and S supervised views; all I + S silhouettes are used.
        size: Side of the grid of pixels per view.

    Returns:
        World points [B, I * size * size, 3]; also for pixels off the object, where they mean nothing.
    """
    return torch.stack([_points(batch, index, size) for index in range(len(batch))])


def _points(batch: ViewBatch, index: int, size: int) -> Tensor:
    """Points of one object, [I * size * size, 3]."""
    rays = _camera_of(batch.input_cameras, index).resized(size, size)
    origins = rays.centers[:, None, None, :]
    directions = pixel_directions(rays)
    middle = torch.linalg.vector_norm(origins, dim=-1, keepdim=True)
    steps = torch.linspace(-REACH, REACH, SAMPLES, dtype=middle.dtype, device=middle.device)
    depths = (middle + steps).expand(*directions.shape[:-1], -1)
    points = (origins[..., None, :] + depths[..., None] * directions[..., None, :]).flatten(0, 2)
    votes = sum(
        _votes(points, _camera_of(cameras, index), alpha[index])
        for cameras, alpha in ((batch.input_cameras, batch.input_alpha), (batch.cameras, batch.alpha))
    )
    assert isinstance(votes, Tensor)
    # argmax gives no promise which of equal votes it takes; a falling term makes the nearest point win.
    first = (votes * SAMPLES - torch.arange(SAMPLES, device=votes.device)).argmax(dim=-1)
    return points[torch.arange(len(points), device=points.device), first]


def _camera_of(cameras: Cameras, index: int) -> Cameras:
    return Cameras(cameras.viewmats[index], cameras.Ks[index], cameras.width, cameras.height)


def _votes(points: Tensor, cameras: Cameras, alpha: Tensor) -> Tensor:
    """Number of views [M, T] in which the points [M, T, 3] fall on the object; alpha is [V, H, W]."""
    votes = torch.zeros(points.shape[:-1], dtype=torch.long, device=points.device)
    for viewmat, K, silhouette in zip(cameras.viewmats, cameras.Ks, alpha, strict=True):
        local = points @ viewmat[:3, :3].mT + viewmat[:3, 3]
        projected = local @ K.mT
        pixels = projected[..., :2] / projected[..., 2:].clamp(min=1e-6)
        grid = 2 * pixels / pixels.new_tensor([cameras.width, cameras.height]) - 1
        seen = F.grid_sample(silhouette[None, None], grid[None], align_corners=False)[0, 0]
        votes += (seen >= COVERED) & (local[..., 2] > 0)
    return votes
