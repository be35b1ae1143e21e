"""Reader of Zero123's renders of Objaverse, ``views_release`` (Liu et al., ICCV 2023), and of sets in its form.

Known from its rendering and loading scripts: ``<uid>/000.png`` to ``011.png``, RGBA, each with ``000.npy`` and so on, a
3 x 4 **world-to-camera** matrix with Blender's world (z up) and Blender's camera axes (looking along -z); a lens of
35 mm on a sensor of 32 mm, 49.13 degrees; objects in a cube of side 1, cameras at random directions and random
distances between 1.5 and 2.2. ``valid_paths.json`` lists the complete objects. There are no categories: name them in
``objects.json`` or with the option ``categories``, which takes Objaverse's LVIS annotations as they are.

Views at random directions form no exact rings of four: the input views are those nearest to one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from geotrap_cli.cameras import blender_to_viewmats, intrinsics_from_fov, invert_rigid
from geotrap_cli.data.files import DataPath, read_bytes
from geotrap_cli.data.layouts import find_objects
from geotrap_cli.data.posed import UNSORTED, Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms
from geotrap_cli.errors import UsageError

FOV_X_DEG = math.degrees(2 * math.atan(32 / 2 / 35))
_FIRST = "000.npy"


class Zero123Config(PosedFilesConfig):
    """Options of :class:`Zero123Dataset`."""

    inner: str = Field(
        default="", description='Folder inside each object\'s that holds the views, such as "render_mvs_25/model".'
    )
    fov_deg: float = Field(default=FOV_X_DEG, gt=0, lt=180, description="Horizontal field of view (degrees).")
    fingerprint: Literal["content", "listing"] = Field(
        default="listing",
        description="What identifies the data: poses with the names and sizes of images, or all bytes (days).",
    )


class Zero123Dataset(PosedFiles):
    """Objects with a PNG image and an NPY pose for each view."""

    key = "zero123"
    summary = "Zero123's views_release of Objaverse: png and npy pairs"
    layout = "<root>/<uid>/{000.png, 000.npy, 001.png, ...}"
    Config = Zero123Config

    def entries(self) -> Iterator[Entry]:
        """Yield the objects on disk that ``valid_paths.json`` lists, or all of them where there is no such file."""
        valid = _valid(self.root / "valid_paths.json")
        marker = f"{self.config.inner}/{_FIRST}" if self.config.inner else _FIRST
        for place in find_objects(self.root, marker, self.layout):
            if valid is None or place.name in valid:
                # Shards of the set are no categories, and an object may move from one to another.
                read = partial(_read, place.folder / self.config.inner, math.radians(self.config.fov_deg))
                yield Entry(place.name, UNSORTED, read)


def _valid(path: DataPath) -> frozenset[str] | None:
    if not path.exists():
        return None
    try:
        return frozenset(str(name) for name in json.loads(read_bytes(path)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: not a list of objects", hint="Restore it, or remove it") from error


def _read(folder: DataPath, fov_x_rad: float) -> Transforms:
    names = {suffix: {file.name for file in folder.iterdir() if file.suffix == suffix} for suffix in (".npy", ".png")}
    stems = sorted(name[: -len(".npy")] for name in names[".npy"])
    for name in sorted(names[".png"]):
        if name[: -len(".png")] not in stems:
            raise UsageError(f"{folder / name}: image without a pose", hint="Restore its .npy file, or remove it")
    poses = tuple(folder / f"{stem}.npy" for stem in stems)
    w2c = torch.stack([_pose(path) for path in poses])
    Ks = intrinsics_from_fov(fov_x_rad, 1, 1).expand(len(stems), 3, 3)
    images = tuple(folder / f"{stem}.png" for stem in stems)
    return Transforms(folder, images, blender_to_viewmats(invert_rigid(w2c)), Ks, poses)


def _pose(path: DataPath) -> torch.Tensor:
    """Read a 3 x 4 matrix as ``[4, 4]`` float64; nothing is unpickled."""
    try:
        matrix = np.load(BytesIO(read_bytes(path)), allow_pickle=False)
        if not isinstance(matrix, np.ndarray) or matrix.shape != (3, 4):
            raise ValueError(f"expects 3 x 4 numbers, got {getattr(matrix, 'shape', 'an archive')}")
        pose = np.vstack((matrix.astype(np.float64), (0.0, 0.0, 0.0, 1.0)))
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise UsageError(f"{path}: no pose ({error})", hint="Restore the file") from error
    return torch.from_numpy(pose)
