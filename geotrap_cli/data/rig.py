"""The camera rig: three rings of eight cameras that look at the origin from 1.5 away, field of view 49.1 degrees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RADIUS = 1.5
BOUNDING_RADIUS = 0.55
"""Radius of the sphere around the origin that an object fits into."""
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


def ray_directions(size: int, pose: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit directions [size, size, 3] through the pixel centres of the camera ``pose`` [4, 4], world z up."""
    return np.einsum("ij,hwj->hwi", pose[:3, :3], _local_directions(size)).astype(np.float32)


@lru_cache(maxsize=8)
def _local_directions(size: int) -> NDArray[np.float64]:
    """Unit directions [size, size, 3] in camera axes. Shared: do not write to it."""
    offsets = (np.arange(size) + 0.5 - size / 2.0) / focal(size)
    across, down = np.meshgrid(offsets, offsets)
    local = np.stack([across, -down, -np.ones_like(across)], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    local.setflags(write=False)
    return local


def fit_to_rig(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre the corners ``[m, 3, 3]`` of an object by its box and scale it into the bounding sphere."""
    points = triangles.reshape(-1, 3)
    centred = triangles - (points.min(axis=0) + points.max(axis=0)) / 2.0
    return centred * (BOUNDING_RADIUS / np.linalg.norm(centred, axis=-1).max())


def quads() -> list[list[int]]:
    """View indices usable as four input views: one ring, 90 degrees apart, every start once."""
    step = PER_RING // 4
    return [
        [ring * PER_RING + (start + step * k) % PER_RING for k in range(4)]
        for ring in range(len(RINGS))
        for start in range(PER_RING)
    ]
