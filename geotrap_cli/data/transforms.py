"""Reading ``transforms.json``: poses, intrinsics and image paths of one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from geotrap_cli.cameras import blender_to_viewmats, intrinsics_from_fov
from geotrap_cli.data.files import DataPath, read_bytes
from geotrap_cli.data.images import image_size
from geotrap_cli.data.validation import first_problem
from geotrap_cli.errors import UsageError

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_HINT = "Write it as Blender and NeRF tools do: camera_angle_x, and file_path and transform_matrix for each frame"


class _Intrinsics(BaseModel):
    """Intrinsics as the file or one frame states them; pixels, except the field of view (radians)."""

    model_config = ConfigDict(allow_inf_nan=False)

    camera_angle_x: float | None = Field(default=None, gt=0, lt=3.1415)
    fl_x: float | None = Field(default=None, gt=0)
    fl_y: float | None = Field(default=None, gt=0)
    cx: float | None = None
    cy: float | None = None
    w: int | None = Field(default=None, gt=0)
    h: int | None = Field(default=None, gt=0)
    intrinsic_matrix: list[list[float]] | None = None

    @field_validator("intrinsic_matrix")
    @classmethod
    def _is_a_pinhole(cls, rows: list[list[float]] | None) -> list[list[float]] | None:
        if rows is None:
            return None
        if len(rows) < 3 or any(len(row) < 3 for row in rows) or rows[0][0] <= 0 or rows[1][1] <= 0:
            raise ValueError("expects 3 rows of 3 numbers with positive focal lengths")
        if rows[0][1] or rows[1][0] or [float(value) for value in rows[2][:3]] != [0.0, 0.0, 1.0]:
            raise ValueError("expects a pinhole without skew: [[f, 0, cx], [0, f, cy], [0, 0, 1]]")
        return rows


class _Frame(_Intrinsics):
    file_path: str = Field(min_length=1)
    transform_matrix: list[list[float]]

    @field_validator("transform_matrix")
    @classmethod
    def _is_a_pose(cls, rows: list[list[float]]) -> list[list[float]]:
        if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
            raise ValueError("a pose has 3 or 4 rows of 4 numbers")
        return [*rows[:3], [0.0, 0.0, 0.0, 1.0]]


class _TransformsFile(_Intrinsics):
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    frames: list[_Frame] = Field(min_length=1)


@dataclass(frozen=True)
class Transforms:
    """One object's frames.

    Args:
        source: the file or folder that the poses come from, for messages.
        images: image paths, one a frame.
        viewmats: ``[V, 4, 4]`` float64 world-to-camera, y-up world.
        Ks: ``[V, 3, 3]`` intrinsics for an image of width and height 1: multiply by pixels.
        pose_files: all files that poses and intrinsics come from.
        frames: the number of each frame in its source; 0, 1, 2 and so on where empty.
    """

    source: DataPath
    images: tuple[DataPath, ...]
    viewmats: Tensor
    Ks: Tensor
    pose_files: tuple[DataPath, ...]
    frames: tuple[int, ...] = ()

    def without(self, frame: int) -> Transforms:
        """Return the frames without the one at index ``frame``."""
        kept = [index for index in range(len(self.images)) if index != frame]
        numbers = self.frames or tuple(range(len(self.images)))
        images = tuple(self.images[index] for index in kept)
        frames = tuple(numbers[index] for index in kept)
        return replace(self, images=images, frames=frames, viewmats=self.viewmats[kept], Ks=self.Ks[kept])


ImageOf = Callable[[int, str], DataPath]
"""From a frame's number and ``file_path`` to its image."""


def read_transforms(path: DataPath, image_of: ImageOf | None = None) -> Transforms:
    """Read ``path``. Intrinsics of a frame take precedence over those of the file, and a focal length over the angle.

    An ``intrinsic_matrix`` is in pixels of the image; its size is ``w`` and ``h`` or, without these, read from it.

    Args:
        path: the pose file.
        image_of: where the images lie, for a layout in which ``file_path`` does not say so.

    Raises:
        UsageError: the file is missing, is no JSON, lacks a field, states no intrinsics, or a distorted lens.
    """
    table = _parse(path)
    shared = table.model_dump(include=set(_Intrinsics.model_fields), exclude_none=True)
    Ks, images = [], []
    for number, frame in enumerate(table.frames):
        image = image_of(number, frame.file_path) if image_of else named_image(path.parent, frame.file_path)
        own = frame.model_dump(include=set(_Intrinsics.model_fields), exclude_none=True)
        Ks.append(_unit_intrinsics(shared | own, path, image))
        images.append(image)
    poses = torch.tensor([frame.transform_matrix for frame in table.frames], dtype=torch.float64)
    return Transforms(path, tuple(images), blender_to_viewmats(poses), torch.stack(Ks), (path,))


def named_image(folder: DataPath, file_path: str) -> DataPath:
    """Return the image a frame names; ``.png`` is understood where no image extension is written."""
    return folder / (file_path if file_path.lower().endswith(".png") else f"{file_path}.png")


def _parse(path: DataPath) -> _TransformsFile:
    try:
        table = _TransformsFile.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}", hint=_HINT) from error
    distorted = [name for name in _DISTORTION if getattr(table, name)]
    if distorted:
        what = f"{path}: a lens with distortion ({distorted[0]} is not 0)"
        raise UsageError(what, hint="Undistort the images first: cameras are pinholes here")
    return table


def _unit_intrinsics(stated: dict[str, Any], path: DataPath, image: DataPath) -> Tensor:
    """Intrinsics of an image whose width and height are 1."""
    if "fl_x" not in stated and "intrinsic_matrix" in stated:
        return _unit_matrix(stated, image)
    if "fl_x" not in stated:
        if "camera_angle_x" not in stated:
            raise UsageError(f"{path}: no intrinsics", hint="Give camera_angle_x, or fl_x, fl_y, cx, cy, w and h")
        return intrinsics_from_fov(stated["camera_angle_x"], 1, 1)
    if "w" not in stated or "h" not in stated:
        raise UsageError(f"{path}: fl_x without w and h", hint="Give the image size that the focal length belongs to")
    width, height = stated["w"], stated["h"]
    K = torch.eye(3)
    K[0, 0], K[0, 2] = stated["fl_x"] / width, stated.get("cx", width / 2) / width
    K[1, 1], K[1, 2] = stated.get("fl_y", stated["fl_x"]) / height, stated.get("cy", height / 2) / height
    return K


def _unit_matrix(stated: dict[str, Any], image: DataPath) -> Tensor:
    width, height = (stated["w"], stated["h"]) if "w" in stated and "h" in stated else image_size(image)
    rows = stated["intrinsic_matrix"]
    return torch.tensor(
        [[rows[0][0] / width, 0.0, rows[0][2] / width], [0.0, rows[1][1] / height, rows[1][2] / height], [0, 0, 1]]
    )
