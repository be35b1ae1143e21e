"""Reader of renders of Google Scanned Objects (Downs et al., ICRA 2022) in the form that LaRa distributes.

Known from LaRa's loader: a folder an object with ``transforms.json``, whose frames have ``transform_matrix``
(camera-to-world, Blender's convention) and their own ``intrinsic_matrix`` in pixels, and images ``r_000.png`` and so on
in the order of the frames, 512 px, RGBA. The depth maps beside them are not read. The renders carry no categories:
name them in ``objects.json`` or with the option ``categories``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial

from geotrap_cli.data.files import DataPath
from geotrap_cli.data.layouts import find_objects
from geotrap_cli.data.posed import UNSORTED, Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms, named_image, read_transforms

POSES = "transforms.json"


class GoogleScannedConfig(PosedFilesConfig):
    """Options of :class:`GoogleScannedDataset`."""


class GoogleScannedDataset(PosedFiles):
    """Household objects, scanned, with intrinsics of their own for every frame."""

    key = "google_scanned"
    summary = "Google Scanned Objects rendered with per-frame intrinsics (LaRa's pack)"
    layout = "<root>/<object>/transforms.json and r_000.png, r_001.png, ..."
    Config = GoogleScannedConfig

    def entries(self) -> Iterator[Entry]:
        """Yield the objects; a folder between root and object is their category."""
        for place in find_objects(self.root, POSES, self.layout):
            yield Entry(place.id, place.parent or UNSORTED, partial(_read, place.folder))


def _read(folder: DataPath) -> Transforms:
    def image_of(number: int, file_path: str) -> DataPath:
        # Packs were moved after they were rendered: the frame's order is what their loader goes by.
        stated = named_image(folder, posixpath.basename(file_path.replace("\\", "/")))
        return stated if stated.is_file() else folder / f"r_{number:03d}.png"

    return read_transforms(folder / POSES, image_of)
