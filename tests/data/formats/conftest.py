"""Tiny data sets in the exact form in which each public one lies on disk, all of the same traced balls."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
FOV_24 = 0.8575560450553894
FOV_100 = 0.6911112070083618
FOV_ZERO123 = 2 * math.atan(16 / 35)
FOV_GOBJ = 2 * math.atan(512 / 1422.222)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@dataclass(frozen=True)
class Formats:
    """Writes each set; ``trace`` and ``look_at_origin`` make its pictures and poses."""

    trace: Callable[..., np.ndarray]
    look_at_origin: Callable[..., np.ndarray]

    def write(self, kind: str, root: Path) -> None:
        getattr(self, kind)(root)

    def orbit(self, count: int, elevation: float = 15.0, radius: float = 3.2) -> list[np.ndarray]:
        return [self.look_at_origin(360 / count * index, elevation, radius) for index in range(count)]

    def save(self, path: Path, pose: np.ndarray, fov: float, size: int = 40) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.trace(pose, size, fov=fov)).save(path)

    def omniobject3d_24(self, root: Path, names: tuple[str, ...] = ("axe_001", "toy_car_002")) -> None:
        """``img/<object>/000.png ... 023.png`` and ``transforms.json``."""
        for name in names:
            folder, poses = root / "img" / name, self.orbit(12) + self.orbit(12, -10)
            for index, pose in enumerate(poses):
                self.save(folder / f"{index:03d}.png", pose, FOV_24)
            frames = [
                {"file_path": f"{index:03d}.png", "transform_matrix": pose.tolist(), "rotation": 0.2}
                for index, pose in enumerate(poses)
            ]
            aabb = [[-0.4] * 3, [0.4] * 3]
            write_json(folder / "transforms.json", {"camera_angle_x": FOV_24, "aabb": aabb, "frames": frames})

    def omniobject3d_100(
        self, root: Path, names: tuple[str, ...] = ("axe_001", "toy_car_002"), flat: bool = False
    ) -> None:
        """``<category>/<object>/render/{images, transforms.json}``; the first camera is not placed yet."""
        for name in names:
            folder = root / ("" if flat else name.rpartition("_")[0]) / name / "render"
            poses = [np.eye(4), *self.orbit(12, 30)]
            poses[0][:3, 3] = (0, 4, 0.5)
            for index, pose in enumerate(poses):
                self.save(folder / "images" / f"r_{index}.png", self.orbit(12, 30)[0] if index == 0 else pose, FOV_100)
            frames = [
                {
                    "file_path": f"/home/someone/out/{name}/images/r_{index}",
                    "rotation": 0.0628,
                    "transform_matrix": pose.tolist(),
                    "scale": 0.0123,
                }
                for index, pose in enumerate(poses)
            ]
            write_json(folder / "transforms.json", {"camera_angle_x": FOV_100, "frames": frames})

    def google_scanned(self, root: Path, names: tuple[str, ...] = ("ACE_Coffee_Mug", "Dino_3")) -> None:
        """``<object>/transforms.json`` with an ``intrinsic_matrix`` a frame, ``r_000.png`` and so on."""
        for name in names:
            frames = []
            for index, pose in enumerate(self.orbit(8)):
                fov = 0.8 + 0.01 * index
                self.save(root / name / f"r_{index:03d}.png", pose, fov)
                focal = 20 / math.tan(fov / 2)
                matrix = [[focal, 0, 20], [0, focal, 20], [0, 0, 1]]
                path = f"/tmp/render/{name}/image_{index}"
                frames.append({"file_path": path, "transform_matrix": pose.tolist(), "intrinsic_matrix": matrix})
            write_json(root / name / "transforms.json", {"frames": frames})

    def zero123(self, root: Path, names: tuple[str, ...] = ("0a1b", "9f8e"), inner: str = "") -> None:
        """``<uid>/000.png`` and ``000.npy``, a 3 x 4 world-to-camera matrix with Blender's camera axes."""
        rng = np.random.default_rng(0)
        for name in names:
            for index in range(12):
                pose = self.look_at_origin(rng.uniform(0, 360), rng.uniform(-40, 40), rng.uniform(2.9, 3.9))
                self.save(root / name / inner / f"{index:03d}.png", pose, FOV_ZERO123)
                np.save(root / name / inner / f"{index:03d}.npy", np.linalg.inv(pose)[:3])

    def gobjaverse(self, root: Path, names: tuple[str, ...] = ("0/10005", "12/60001"), fov: bool = False) -> None:
        """``<dictionary>/<object>/campos_512_v4/00000/00000.{png,json}``; the pose after an orbit repeats its first."""
        for name in names:
            ring = self.orbit(8)
            for index, pose in enumerate([*ring, ring[0], *self.orbit(4, -3)]):
                folder = root / name / "campos_512_v4" / f"{index:05d}"
                self.save(folder / f"{index:05d}.png", pose, FOV_GOBJ)
                axes = pose @ OPENCV
                camera = {key: axes[:3, column].tolist() for column, key in enumerate(("x", "y", "z", "origin"))}
                camera |= {"x_fov": FOV_GOBJ, "y_fov": FOV_GOBJ} if fov else {}
                write_json(folder / f"{index:05d}.json", camera | {"bbox": [[-0.5] * 3, [0.5] * 3]})
                (folder / f"{index:05d}_nd.exr").write_bytes(b"not read")

    def nerf_synthetic(self, root: Path, names: tuple[str, ...] = ("lego", "ship")) -> None:
        """``<scene>/transforms_{train,val,test}.json`` with paths that have no extension."""
        for name in names:
            for part, poses in (("train", self.orbit(8, 25)), ("val", self.orbit(4, 40)), ("test", self.orbit(8, 10))):
                frames = []
                for index, pose in enumerate(poses):
                    self.save(root / name / part / f"r_{index}.png", pose, FOV_100)
                    frames.append(
                        {"file_path": f"./{part}/r_{index}", "rotation": 0.01, "transform_matrix": pose.tolist()}
                    )
                write_json(root / name / f"transforms_{part}.json", {"camera_angle_x": FOV_100, "frames": frames})

    def pack(self, folder: Path, target: Path) -> Path:
        """Pack ``folder`` into a tar as ``tar -cf target -C parent folder`` does."""
        with tarfile.open(target, "w") as archive:
            archive.add(folder, arcname=folder.name)
        return target


@pytest.fixture
def formats(tracer: tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]) -> Formats:
    return Formats(*tracer)
