"""A small data set in Blender's convention, ray traced here with arithmetic of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOV = math.radians(49.1)
SIZE = 48
RADIUS = 3.0
# Centre (Blender's world, z up), radius and colour of the balls of an object without symmetry.
BALLS = (
    ((0.0, 0.0, 0.0), 0.35, (200, 40, 40)),
    ((0.6, 0.1, 0.2), 0.25, (40, 200, 40)),
    ((-0.1, 0.5, -0.35), 0.2, (40, 40, 200)),
    ((0.05, -0.15, 0.75), 0.15, (220, 200, 40)),
)


@dataclass(frozen=True)
class BallSet:
    """A root folder, and how its objects were made."""

    root: Path
    poses: np.ndarray

    def table(self, id: str) -> Path:
        return self.root / id / "transforms.json"

    def image(self, id: str, index: int) -> Path:
        return self.root / id / f"r_{index}.png"

    def edit(self, id: str, change: Callable[[dict], None]) -> None:
        table = json.loads(self.table(id).read_text())
        change(table)
        self.table(id).write_text(json.dumps(table))


def look_at_origin(azimuth_deg: float, elevation_deg: float, radius: float = RADIUS) -> np.ndarray:
    """Camera-to-world in Blender's convention: z-up world, camera x right, y up, looking along -z."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    back = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack((right, np.cross(back, right), back))
    pose[:3, 3] = radius * back
    return pose


def trace(pose: np.ndarray, size: int = SIZE, mirror: float = 1.0, fov: float = FOV) -> np.ndarray:
    """RGBA picture of the balls; ``mirror`` -1 shows another object, their mirror image."""
    x, y = np.meshgrid(np.arange(size) + 0.5 - size / 2, size / 2 - np.arange(size) - 0.5)
    focal = 0.5 * size / math.tan(fov / 2)
    rays = np.stack((x / focal, y / focal, -np.ones_like(x)), axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    picture, nearest = np.zeros((size, size, 4), np.uint8), np.full((size, size), np.inf)
    for center, radius, color in BALLS:
        offset = pose[:3, 3] - np.array(center) * (mirror, 1, 1)
        along = rays @ offset
        root = along**2 - (offset @ offset - radius**2)
        depth = np.where(root > 0, -along - np.sqrt(root.clip(0)), np.inf)
        front = depth < nearest
        nearest[front] = depth[front]
        picture[front] = (*color, 255)
    return picture


def write_object(folder: Path, poses: np.ndarray, extension: str = "", mirror: float = 1.0) -> None:
    folder.mkdir(parents=True)
    frames = []
    for index, pose in enumerate(poses):
        Image.fromarray(trace(pose, mirror=mirror)).save(folder / f"r_{index}.png")
        frames.append({"file_path": f"./r_{index}{extension}", "transform_matrix": pose.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": FOV, "frames": frames}))


def ring_poses() -> np.ndarray:
    """Two rings of eight views, 45 degrees apart, at elevations 0 and 25."""
    return np.stack([look_at_origin(45 * i, elevation) for elevation in (0, 25) for i in range(8)])


@pytest.fixture
def balls(tmp_path: Path) -> BallSet:
    """Three objects of two categories; two of them are variants of one model."""
    root, poses = tmp_path / "balls", ring_poses()
    write_object(root / "toy" / "a", poses)
    write_object(root / "toy" / "b", poses, extension=".png")
    write_object(root / "tool" / "c", poses, mirror=-1.0)
    index = [{"id": "toy/a", "group": "ab"}, {"id": "toy/b", "group": "ab"}]
    (root / "objects.json").write_text(json.dumps(index))
    return BallSet(root, poses)


@pytest.fixture
def tracer() -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """How pictures and poses of the balls are made, for the tests of other folders."""
    return trace, look_at_origin
