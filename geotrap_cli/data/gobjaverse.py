"""Reader of G-Objaverse (Qiu et al., RichDreamer, CVPR 2024): Objaverse rendered from 38 places around each object.

Known from the documentation and the warping example of its authors: the layout; ``x``, ``y``, ``z`` of a JSON file are
the camera's axes in **OpenCV's** convention (right, down, forward) and ``origin`` its place, in a z-up world; the focal
length is 1422.222 pixels for 1024, 39.6 degrees, where a file does not state ``x_fov`` (radians). Objects lie in a cube
of side 1, cameras at a distance that is random for each object. Of the 40 stored views, 24 and 39 close an orbit and
repeat its first pose: a repeated pose is left out, or an input view could come back as a novel one. Depth, normals and
materials (``_nd.exr`` and so on) are not read, and need not be there.

An object may be a folder or a ``.tar`` as distributed. Categories come from ``objects.json`` or the option
``categories``, by ids such as ``"0/10005"``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geotrap_cli.cameras import intrinsics_from_fov, opencv_c2w_to_viewmats
from geotrap_cli.data.files import DataPath, read_bytes, subfolders
from geotrap_cli.data.layouts import find_objects
from geotrap_cli.data.posed import UNSORTED, Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms
from geotrap_cli.data.validation import first_problem
from geotrap_cli.errors import UsageError

FOV_X = 2 * math.atan(1024 / 2 / 1422.222)
VIEWS = "campos_512_v4"
_REPEATED = 1e-4

_Vector = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Camera(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    x: _Vector
    y: _Vector
    z: _Vector
    origin: _Vector
    x_fov: float = Field(default=FOV_X, gt=0, lt=math.pi)


class GObjaverseConfig(PosedFilesConfig):
    """Options of :class:`GObjaverseDataset`."""

    fingerprint: Literal["content", "listing"] = Field(
        default="listing",
        description="What identifies the data: poses with the names and sizes of images, or all bytes (days).",
    )


class GObjaverseDataset(PosedFiles):
    """Objects with a folder and a JSON camera for each view."""

    key = "gobjaverse"
    summary = "G-Objaverse: 38 views of each object, json cameras"
    layout = f"<root>/<dictionary>/<object>/{VIEWS}/<view>/<view>.{{png,json}}"
    Config = GObjaverseConfig

    def entries(self) -> Iterator[Entry]:
        """Yield the objects by dictionary and number, which is how the set names them."""
        for place in find_objects(self.root, VIEWS, self.layout):
            yield Entry(place.id, UNSORTED, partial(_read, place.folder / VIEWS))


def _read(folder: DataPath) -> Transforms:
    views = subfolders(folder)
    if not views:
        raise UsageError(f"{folder}: no views", hint="Restore the object, or remove its folder")
    files = tuple(view / f"{name}.json" for name, view in views.items())
    cameras = [_camera(path) for path in files]
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(cameras), 1, 1)
    for pose, camera in zip(c2w, cameras, strict=True):
        columns = (camera.x, camera.y, camera.z, camera.origin)
        pose[:3] = torch.tensor(columns, dtype=torch.float64).T
    Ks = torch.stack([intrinsics_from_fov(camera.x_fov, 1, 1) for camera in cameras])
    images = tuple(view / f"{name}.png" for name, view in views.items())
    return _without_repeats(Transforms(folder, images, opencv_c2w_to_viewmats(c2w), Ks, files))


def _camera(path: DataPath) -> _Camera:
    try:
        return _Camera.model_validate_json(read_bytes(path))
    except ValidationError as error:
        hint = "A camera has the vectors x, y, z and origin"
        raise UsageError(f"{path}: {first_problem(error)}", hint=hint) from error


def _without_repeats(table: Transforms) -> Transforms:
    """The frames without those whose pose an earlier frame has."""
    for index in range(len(table.images) - 1, 0, -1):
        if bool(((table.viewmats[:index] - table.viewmats[index]).abs().amax(dim=(1, 2)) < _REPEATED).any()):
            table = table.without(index)
    return table
