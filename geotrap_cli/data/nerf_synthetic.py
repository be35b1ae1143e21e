"""Reader of NeRF's synthetic scenes (Mildenhall et al., ECCV 2020) and of sets in their form.

``<scene>/transforms_train.json``, ``transforms_val.json`` and ``transforms_test.json``; ``file_path`` is
``./train/r_0`` without its extension; 100, 100 and 200 views of 800 px, RGBA, 39.6 degrees, cameras 4.03 from the
origin on the upper hemisphere. Depth and normal maps beside the test views are named by no frame and not read. Each
scene is a category of its own, unless ``objects.json`` or the option ``categories`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from pydantic import Field

from geotrap_cli.data.files import DataPath
from geotrap_cli.data.layouts import find_objects
from geotrap_cli.data.posed import Entry, PosedFiles, PosedFilesConfig
from geotrap_cli.data.transforms import Transforms, read_transforms


class NerfSyntheticConfig(PosedFilesConfig):
    """Options of :class:`NerfSyntheticDataset`."""

    parts: tuple[Literal["train", "val", "test"], ...] = Field(
        default=("train", "val", "test"), min_length=1, description="Parts of a scene whose views are used."
    )


class NerfSyntheticDataset(PosedFiles):
    """Scenes with one pose file for each of their parts."""

    key = "nerf_synthetic"
    summary = "NeRF's synthetic scenes: transforms_train, _val and _test.json"
    layout = "<root>/<scene>/transforms_{train,val,test}.json"
    Config = NerfSyntheticConfig

    def entries(self) -> Iterator[Entry]:
        """Yield the scenes."""
        parts = tuple(dict.fromkeys(self.config.parts))
        for place in find_objects(self.root, f"transforms_{parts[0]}.json", self.layout):
            yield Entry(place.id, place.parent or place.name, partial(_read, place.folder, parts))


def _read(folder: DataPath, parts: tuple[str, ...]) -> Transforms:
    tables = [read_transforms(folder / f"transforms_{part}.json") for part in parts]
    return Transforms(
        folder,
        tuple(image for table in tables for image in table.images),
        torch.cat([table.viewmats for table in tables]),
        torch.cat([table.Ks for table in tables]),
        tuple(file for table in tables for file in table.pose_files),
    )
