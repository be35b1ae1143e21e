"""Reading ``transforms.json``: poses, intrinsics and image paths of one object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from geotrap_cli.cameras import blender_to_viewmats, intrinsics_from_fov
from geotrap_cli.data.validation import first_problem
from geotrap_cli.errors import UsageError

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
    frames: list[_Frame] = Field(min_length=1)


@dataclass(frozen=True)
class Transforms:
    """One object's frames.

    Args:
        source: the file they come from.
        images: image paths, one a frame.
        viewmats: ``[V, 4, 4]`` float64 world-to-camera, y-up world.
        Ks: ``[V, 3, 3]`` intrinsics for an image of width and height 1: multiply by pixels.
    """

    source: Path
    images: tuple[Path, ...]
    viewmats: Tensor
    Ks: Tensor


def read_transforms(path: Path) -> Transforms:
    """Read ``path``. Intrinsics of a frame take precedence over those of the file, focal lengths over the angle.

    Raises:
        UsageError: the file is missing, is no JSON, lacks a field, or states no intrinsics.
    """
    table = _parse(path)
    shared = table.model_dump(include=set(_Intrinsics.model_fields), exclude_none=True)
    Ks = []
    for frame in table.frames:
        own = frame.model_dump(include=set(_Intrinsics.model_fields), exclude_none=True)
        Ks.append(_unit_intrinsics(shared | own, path))
    poses = torch.tensor([frame.transform_matrix for frame in table.frames], dtype=torch.float64)
    images = tuple(_image_path(path.parent, frame.file_path) for frame in table.frames)
    return Transforms(path, images, blender_to_viewmats(poses), torch.stack(Ks))


def _parse(path: Path) -> _TransformsFile:
    try:
        return _TransformsFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}", hint=_HINT) from error


def _unit_intrinsics(stated: dict[str, Any], path: Path) -> Tensor:
    """Intrinsics of an image whose width and height are 1."""
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


def _image_path(folder: Path, file_path: str) -> Path:
    """The image a frame names; ``.png`` is understood where no image extension is written."""
    path = folder / file_path
    return path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")


def read_index(path: Path) -> dict[str, dict[str, Any]]:
    """Read ``objects.json``, a list of ``{"id", "group", ...}``, into a table by id; an absent file is an empty one.

    Raises:
        UsageError: the file is not such a list.
    """
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_bytes())
        return {entry["id"]: entry for entry in entries}
    except (OSError, ValueError, TypeError, KeyError) as error:
        hint = 'Write a list of {"id": "<category>/<object>", "group": "<name>"}, or remove the file'
        raise UsageError(f"{path}: not an index of objects", hint=hint) from error
