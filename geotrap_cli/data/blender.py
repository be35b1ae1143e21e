"""Reader of ``<root>/<category>/<object>/transforms.json`` with RGBA images, as Blender and NeRF tools write them.

A frame has ``file_path`` and ``transform_matrix`` (camera-to-world, z-up world, camera looking along -z); intrinsics
are ``camera_angle_x``, ``fl_x`` with its companions, or a frame's own ``intrinsic_matrix``. ``geotrap data render``
writes this form.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from geotrap_cli.data.files import DataPath, subfolders
from geotrap_cli.data.layouts import category_folders, not_found
from geotrap_cli.data.posed import Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms, read_transforms

POSES = "transforms.json"


class BlenderConfig(PosedFilesConfig):
    """Options of :class:`BlenderDataset`."""


class BlenderDataset(PosedFiles):
    """Objects rendered with Blender-convention cameras."""

    key = "blender"
    summary = "Folders of RGBA views with a transforms.json each (Blender, NeRF)"
    layout = "<root>/<category>/<object>/transforms.json"
    Config = BlenderConfig

    def entries(self) -> Iterator[Entry]:
        """Yield every object folder; one without a pose file is an error, not a smaller data set."""
        for category, folder in category_folders(self.root, self.layout).items():
            for name, own in subfolders(folder).items():
                yield Entry(f"{category}/{name}", category, partial(self._read, own))

    def _read(self, folder: DataPath) -> Transforms:
        if not (folder / POSES).is_file():
            raise not_found(folder / POSES, self.layout)
        return read_transforms(folder / POSES)
