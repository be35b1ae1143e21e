"""Reader of ``<root>/<category>/<object>/transforms.json`` with RGBA images, as Blender and NeRF tools write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from geotrap_cli.cameras import Cameras, invert_rigid
from geotrap_cli.data.base import ObjectRecord, PosedViews
from geotrap_cli.data.cache import ArrayCache
from geotrap_cli.data.checks import check_poses, check_silhouettes
from geotrap_cli.data.images import check_complete, read_rgba
from geotrap_cli.data.rings import find_rings
from geotrap_cli.data.transforms import Transforms, read_index, read_transforms
from geotrap_cli.errors import UsageError

CHECKED_VIEWS = 8
CHECKED_SIZE = 64
_LAYOUT = "Expected <root>/<category>/<object>/transforms.json"


class BlenderConfig(BaseModel):
    """Options of :class:`BlenderDataset`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(
        description="Folder that holds <category>/<object>/transforms.json and, optionally, objects.json."
    )
    cache_mib: int = Field(default=1024, ge=0, description="Memory for decoded images, in MiB.")


class BlenderDataset:
    """Objects rendered with Blender-convention cameras.

    Poses are checked, and every image must be there, when the data set is opened. Pictures are read, and silhouettes
    compared with the poses, when an object is first used; ``prepare`` does that ahead of a long run.
    """

    key = "blender"
    summary = "Folders of RGBA views with a transforms.json each (Blender, NeRF)"
    Config = BlenderConfig

    def __init__(self, config: BlenderConfig) -> None:
        """Read and check every ``transforms.json`` under the root; images are read when they are asked for.

        Raises:
            UsageError: the root or a file under it cannot be read, a pose is none, or an image is missing.
        """
        self.root = config.root
        self._transforms = {_object_id(path): read_transforms(path) for path in _find_transforms(config.root)}
        for table in self._transforms.values():
            check_poses(table.viewmats.numpy(), table.source)
            _check_images_exist(table)
        self._index = read_index(config.root / "objects.json")
        self._cache = ArrayCache(config.cache_mib * 2**20)
        self._checked: set[str] = set()
        self._rings: dict[str, list[list[int]]] = {}

    @cached_property
    def records(self) -> tuple[ObjectRecord, ...]:
        """Every object, sorted by id."""
        return tuple(
            ObjectRecord(id, str(self._index.get(id, {}).get("group", id)), id.split("/")[0], len(table.images))
            for id, table in self._transforms.items()
        )

    def rings(self, id: str) -> list[list[int]]:
        """Groups of four view indices 90 degrees apart; see :func:`geotrap_cli.data.rings.find_rings`."""
        if id not in self._rings:
            table = self._object(id)
            self._rings[id] = find_rings(invert_rigid(table.viewmats)[:, :3, 3].numpy())
        return self._rings[id]

    def views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        """Return the views ``indices`` of object ``id`` at ``size`` x ``size`` pixels.

        Raises:
            UsageError: the object is unknown, or its files are missing, damaged or contradict each other.
        """
        table, chosen = self._object(id), list(indices)
        rgba = np.zeros((len(chosen), size, size, 4), dtype=np.float32)
        for place, index in enumerate(chosen):
            rgba[place] = self._image(id, index, size)
        cameras = Cameras(table.viewmats[chosen].float(), table.Ks[chosen], 1, 1).resized(size, size)
        return PosedViews(torch.from_numpy(rgba / 255), cameras)

    def prepare(
        self,
        ids: Sequence[str] | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Check the objects ``ids`` (default: all) now, rather than when a long run first draws them.

        Args:
            ids: Objects to check.
            workers: Not needed: checking is quick.
            progress: Called with (objects done, objects to check).

        Raises:
            UsageError: names the first file at fault.
        """
        del workers
        chosen = list(self._transforms) if ids is None else list(ids)
        for done, id in enumerate(chosen, start=1):
            self.rings(id)
            if progress is not None:
                progress(done, len(chosen))

    def fingerprint(self) -> str:
        """Hash of every pose file, image and the index: the content, not the paths of the machine.

        Raises:
            UsageError: a file cannot be read, or an image is cut short.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path in sorted(self._files()):
            digest.update(path.relative_to(self.root).as_posix().encode() + b"\0")
            content = _read_bytes(path)
            if path.suffix.lower() == ".png":
                check_complete(content, path)
            digest.update(hashlib.blake2b(content).digest())
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        index = self.root / "objects.json"
        tables = self._transforms.values()
        return [path for table in tables for path in (table.source, *table.images)] + [index] * index.exists()

    def _image(self, id: str, index: int, size: int) -> np.ndarray:
        path = self._transforms[id].images[index]
        return self._cache.get((id, index, size), lambda: read_rgba(path, size))

    def _object(self, id: str) -> Transforms:
        """The frames of ``id``, their silhouettes checked once."""
        if id not in self._transforms:
            raise UsageError(f"{self.root}: no object {id!r}", hint="List the objects that the data set holds")
        table = self._transforms[id]
        if id not in self._checked:
            self._check_silhouettes(id, table)
            self._checked.add(id)
        return table

    def _check_silhouettes(self, id: str, table: Transforms) -> None:
        count = len(table.images)
        chosen = np.linspace(0, count - 1, min(count, CHECKED_VIEWS)).round().astype(int)
        alphas = np.stack([self._image(id, int(index), CHECKED_SIZE)[..., 3] for index in chosen]) / 255
        check_silhouettes(alphas, table.viewmats.numpy()[chosen], table.Ks.double().numpy()[chosen], table.source)


def _find_transforms(root: Path) -> list[Path]:
    """Pose files of every object folder; a folder of a category without one is an error, not a smaller data set."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint=_LAYOUT)
    folders = sorted(folder for folder in root.glob("*/*") if folder.is_dir() and not _hidden(folder, root))
    if not folders:
        raise UsageError(f"{root}: no objects", hint=_LAYOUT)
    for folder in folders:
        if not (folder / "transforms.json").is_file():
            raise UsageError(f"{folder / 'transforms.json'}: not found", hint=_LAYOUT)
    return [folder / "transforms.json" for folder in folders]


def _check_images_exist(table: Transforms) -> None:
    for path in table.images:
        if not path.is_file():
            raise UsageError(f"{path}: image not found", hint=f"{table.source} names it: render it or remove its frame")


def _hidden(folder: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in folder.relative_to(root).parts)


def _object_id(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}"


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
