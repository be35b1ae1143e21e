"""Readers of OmniObject3D's two sets of renders (Wu et al., CVPR 2023), scanned objects of 190 categories.

Known from the rendering and loading scripts that its authors publish: poses are camera-to-world in Blender's
convention, ``file_path`` is no path to rely on, the ``scale`` of a frame normalises the mesh and is no part of the
pose, and the first pose of a file may be the camera before it was placed. Known from users of the data: the layout of
the 24 views, and that a fifth of the objects come as RGB on black, although the film was transparent.

A first frame whose camera does not look at the object is left out. Images without alpha are an error unless
``without_alpha`` says what they mean.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from geotrap_cli.data.checks import AXIS_TOLERANCE, ROTATION_TOLERANCE, axis_offsets, rotation_errors
from geotrap_cli.data.files import DataPath
from geotrap_cli.data.images import lacks_alpha, read_rgba
from geotrap_cli.data.layouts import Place, find_objects
from geotrap_cli.data.posed import Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms, named_image, read_transforms

BLACK = 3
"""Largest value of a colour channel that counts as black, of 255."""


class OmniObject3DConfig(PosedFilesConfig):
    """Options of both readers."""

    without_alpha: Literal["error", "leave_out", "black"] = Field(
        default="error",
        description="Objects whose images have no alpha: an error, left out, or opaque except for black that reaches "
        "the border.",
    )
    fingerprint: Literal["content", "listing"] = Field(
        default="listing",
        description="What identifies the data: poses with the names and sizes of images, or all bytes (hours).",
    )


class OmniObject3D(PosedFiles):
    """What both sets share."""

    Config = OmniObject3DConfig
    poses: ClassVar[str]

    def entries(self) -> Iterator[Entry]:
        """Yield the objects, in category folders or archives or, by the names of the objects, flat."""
        for place in find_objects(self._top(), self.poses, self.layout):
            category = place.parent or place.name.rpartition("_")[0] or place.name
            entry = Entry(f"{category}/{place.name}", category, partial(self._read, place))
            if self.config.without_alpha != "leave_out" or not lacks_alpha(entry.read().images[0]):
                yield entry

    def image(self, path: DataPath, size: int) -> np.ndarray:
        """Read one image, with the alpha that ``without_alpha`` gives it where it has none."""
        return read_rgba(path, size, alpha_from_black if self.config.without_alpha == "black" else None)

    def image_at(self, folder: DataPath, file_path: str) -> DataPath:
        """Return the image of a frame, in the folder of an object."""
        raise NotImplementedError

    def _top(self) -> DataPath:
        return self.root

    def _read(self, place: Place) -> Transforms:
        def image_of(_: int, file_path: str) -> DataPath:
            return self.image_at(place.folder, posixpath.basename(file_path.replace("\\", "/")))

        table = read_transforms(place.folder / self.poses, image_of)
        first = table.viewmats[:1].numpy()
        placed = rotation_errors(first)[0] <= ROTATION_TOLERANCE and axis_offsets(first)[0] <= AXIS_TOLERANCE
        return table if placed else table.without(0)


class OmniObject3D24Dataset(OmniObject3D):
    """``blender_renders_24_views``: 24 views of 1024 px, 49.13 degrees, cameras 1.2 from the object."""

    key = "omniobject3d_24"
    summary = "OmniObject3D, blender_renders_24_views: scanned objects, 24 views"
    layout = "<root>/[img/][<category>/]<category>_<number>/{000..023}.png and transforms.json"
    poses = "transforms.json"

    def image_at(self, folder: DataPath, file_path: str) -> DataPath:
        """Images lie beside the pose file."""
        return named_image(folder, file_path)

    def _top(self) -> DataPath:
        inner = self.root / "img"
        return inner if inner.is_dir() else self.root


class OmniObject3D100Dataset(OmniObject3D):
    """``blender_renders``: 100 views of 800 px, 39.6 degrees, cameras 4.03 from an object that is not centred."""

    key = "omniobject3d_100"
    summary = "OmniObject3D, blender_renders: scanned objects, 100 views"
    layout = "<root>/[<category>/]<category>_<number>/render/{images/r_<i>.png, transforms.json}"
    poses = "render/transforms.json"

    def image_at(self, folder: DataPath, file_path: str) -> DataPath:
        """Images lie in a folder beside the pose file; the rest of ``file_path`` is of the machine that rendered."""
        return named_image(folder / "render" / "images", file_path)


def alpha_from_black(colours: np.ndarray) -> np.ndarray:
    """Return coverage ``[H, W]`` of an object on black, uint8: all but the black regions that touch the border.

    Dark parts inside the object stay opaque. Where a dark part of the object itself reaches its outline there is no
    telling it from the background; the check of silhouettes finds the objects that this spoils.
    """
    # Imported here: only data without alpha needs it.
    from scipy import ndimage

    labels, _ = ndimage.label(colours.max(axis=-1) <= BLACK)
    border = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    return np.where(np.isin(labels, border[border > 0]), 0, 255).astype(np.uint8)
