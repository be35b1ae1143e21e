"""The camera rig: three rings of eight cameras that look at the origin from 1.5 away, field of view 49.1 degrees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RADIUS = 1.5
FOV_DEG = 49.1
# (elevation, azimuth of the first camera) in degrees; the rings are staggered so that no two cameras share an azimuth.
RINGS = ((0.0, 0.0), (20.0, 22.5), (-15.0, 11.25))
PER_RING = 8
VIEWS = PER_RING * len(RINGS)


def blender_poses() -> NDArray[np.float64]:
    """Camera-to-world matrices [24, 4, 4] in Blender's convention: world z up, camera looks along -z, its y is up."""
    return np.stack(
        [_pose(elevation, first + 360.0 / PER_RING * step) for elevation, first in RINGS for step in range(PER_RING)]
    )


def _pose(elevation: float, azimuth: float) -> NDArray[np.float64]:
    e, a = np.radians(elevation), np.radians(azimuth)
    backward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(backward, right), backward])
    pose[:3, 3] = RADIUS * backward
    return pose


def focal(size: int) -> float:
    """Focal length in pixels of a square image."""
    return float(0.5 * size / np.tan(np.radians(FOV_DEG) / 2.0))


@lru_cache(maxsize=8)
def ray_directions(size: int) -> NDArray[np.float32]:
    """Unit directions [24, size, size, 3] through the pixel centres, world z up. Shared: do not write to it."""
    offsets = (np.arange(size) + 0.5 - size / 2.0) / focal(size)
    across, down = np.meshgrid(offsets, offsets)
    local = np.stack([across, -down, -np.ones_like(across)], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    world = np.einsum("vij,hwj->vhwi", blender_poses()[:, :3, :3], local)
    directions = np.ascontiguousarray(world, dtype=np.float32)
    directions.setflags(write=False)
    return directions


def quads() -> list[list[int]]:
    """View indices usable as four input views: one ring, 90 degrees apart, every start once."""
    step = PER_RING // 4
    return [
        [ring * PER_RING + (start + step * k) % PER_RING for k in range(4)]
        for ring in range(len(RINGS))
        for start in range(PER_RING)
    ]
