"""What readers of posed images on disk share: checks, categories, caching and the fingerprint.

A reader of one layout says which objects there are and where the poses and images of each lie; see
:meth:`PosedFiles.entries`. Roots and categories may be archives (:mod:`geotrap_cli.data.files`).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from geotrap_cli.cameras import Cameras, invert_rigid
from geotrap_cli.data.base import ObjectRecord, PosedViews
from geotrap_cli.data.cache import ArrayCache
from geotrap_cli.data.checks import check_poses, check_silhouettes
from geotrap_cli.data.files import DataPath, file_size, open_folder, read_bytes, relative_name
from geotrap_cli.data.images import check_complete, read_rgba
from geotrap_cli.data.index import read_categories, read_index
from geotrap_cli.data.rings import find_rings
from geotrap_cli.data.transforms import Transforms
from geotrap_cli.errors import UsageError

CHECKED_VIEWS = 8
CHECKED_SIZE = 64
UNSORTED = "unsorted"
"""Category of objects of which none is known."""

SilhouetteViews: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Alphas ``[V, H, W]`` in [0, 1], viewmats ``[V, 4, 4]`` and intrinsics ``[V, 3, 3]`` for an image of side 1."""


class PosedFilesConfig(BaseModel):
    """Options that every reader of posed images has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(description="Folder of the data set, or a .tar or .zip of it.")
    categories: Path | None = Field(
        default=None,
        description='JSON file with the category of each object, {"category": [ids]} or {"id": "category"}; '
        "objects that it does not name are left out.",
    )
    cache_mib: int = Field(default=1024, ge=0, description="Memory for decoded images, in MiB.")
    fingerprint: Literal["content", "listing"] = Field(
        default="content",
        description="What identifies the data: all bytes, or poses with the names and sizes of images (large sets).",
    )


@dataclass(frozen=True)
class Entry:
    """An object that a layout holds, not yet read."""

    id: str
    category: str
    read: Callable[[], Transforms]


class PosedFiles(ABC):
    """Objects whose views are image files with known cameras.

    Poses are checked, and every image must be there, when the data set is opened. Pictures are read, and silhouettes
    compared with the poses, when an object is first used; ``prepare`` does that ahead of a long run.
    """

    layout: ClassVar[str]

    def __init__(self, config: Any, failures: dict[str, UsageError] | None = None) -> None:
        """Read and check the poses of every object; images are read when they are asked for.

        Args:
            config: options of the reader.
            failures: where given, takes what is wrong with single objects by id, instead of the first one ending all.

        Raises:
            UsageError: the root or a file under it cannot be read, a pose is none, or an image is missing.
        """
        self.config = config
        self.root = open_folder(config.root)
        self._index = read_index(self.root / "objects.json")
        self._named = None if config.categories is None else read_categories(config.categories)
        self._cache = ArrayCache(config.cache_mib * 2**20)
        self._transforms: dict[str, Transforms] = {}
        self._categories: dict[str, str] = {}
        self._checked: set[str] = set()
        self._rings: dict[str, list[list[int]]] = {}
        for entry in self._wanted():
            self._open_noting(entry, failures)
        # Sorted: archives and folders, or shards, of one data set are one data set.
        self._transforms = dict(sorted(self._transforms.items()))

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yield the objects of the layout below ``self.root``, each id once.

        Raises:
            UsageError: the root holds no such layout.
        """

    def image(self, path: DataPath, size: int) -> np.ndarray:
        """Read one image as ``[size, size, 4]`` uint8 with straight alpha."""
        return read_rgba(path, size)

    @cached_property
    def records(self) -> tuple[ObjectRecord, ...]:
        """Every object, sorted by id."""
        return tuple(
            ObjectRecord(id, str(self._index.get(id, {}).get("group", id)), self._categories[id], len(table.images))
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
        self._object(id)
        return self.unchecked_views(id, indices, size)

    def unchecked_views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        """Return views as they are stored, also where poses and silhouettes contradict each other."""
        table, chosen = self.transforms(id), list(indices)
        rgba = np.zeros((len(chosen), size, size, 4), dtype=np.float32)
        for place, index in enumerate(chosen):
            rgba[place] = self._image(id, index, size)
        cameras = Cameras(table.viewmats[chosen].float(), table.Ks[chosen], 1, 1).resized(size, size)
        return PosedViews(torch.from_numpy(rgba / 255), cameras)

    def transforms(self, id: str) -> Transforms:
        """Return the frames of an object.

        Raises:
            UsageError: it is unknown.
        """
        if id not in self._transforms:
            raise UsageError(f"{self.root}: no object {id!r}", hint="List the objects that the data set holds")
        return self._transforms[id]

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

        With ``fingerprint = "listing"``, images count by name and size alone.

        Raises:
            UsageError: a file cannot be read, or an image is cut short.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, (path, is_image) in sorted(self._files().items()):
            digest.update(name.encode() + b"\0")
            digest.update(self._trace(path, is_image))
        if self._named is not None:
            facts = sorted((id, self._categories[id]) for id in self._transforms)
            digest.update(repr(facts).encode())
        return digest.hexdigest()

    def _trace(self, path: DataPath, is_image: bool) -> bytes:
        """What stands for a file in the fingerprint."""
        if is_image and self.config.fingerprint == "listing":
            return str(file_size(path)).encode()
        content = read_bytes(path)
        if is_image:
            check_complete(content, path)
        return hashlib.blake2b(content).digest()

    def _files(self) -> dict[str, tuple[DataPath, bool]]:
        """Every file by its name below the root, and whether it is an image."""
        tables = list(self._transforms.values())
        index = self.root / "objects.json"
        poses = [path for table in tables for path in table.pose_files] + [index] * index.exists()
        images = [path for table in tables for path in table.images]
        return {
            relative_name(path, self.root): (path, is_image)
            for paths, is_image in ((poses, False), (images, True))
            for path in paths
        }

    def _wanted(self) -> Iterator[Entry]:
        """The objects that have a category, where a file names categories."""
        found = False
        for entry in self.entries():
            found = True
            if self._named is None or entry.id in self._named:
                yield entry
        if not found:
            raise UsageError(f"{self.root}: no objects", hint=f"Expected {self.layout}")

    def _open_noting(self, entry: Entry, failures: dict[str, UsageError] | None) -> None:
        try:
            self._open(entry)
        except UsageError as error:
            if failures is None:
                raise
            failures[entry.id] = error

    def _open(self, entry: Entry) -> None:
        if entry.id in self._categories:
            raise UsageError(f"{self.root}: object {entry.id!r} is there twice", hint="Keep one of its folders")
        table = entry.read()
        self._transforms[entry.id] = table
        own = self._index.get(entry.id, {}).get("category", entry.category)
        self._categories[entry.id] = str(own if self._named is None else self._named[entry.id])
        check_poses(table.viewmats.numpy(), table.source, table.frames)
        for path in table.images:
            relative_name(path, self.root)
            if not path.is_file():
                hint = f"It is named by {table.source}: render it or remove its frame"
                raise UsageError(f"{path}: image not found", hint=hint)

    def _image(self, id: str, index: int, size: int) -> np.ndarray:
        path = self._transforms[id].images[index]
        return self._cache.get((id, index, size), lambda: self.image(path, size))

    def _object(self, id: str) -> Transforms:
        """The frames of ``id``, their silhouettes checked once."""
        table = self.transforms(id)
        if id not in self._checked:
            check_silhouettes(*self.silhouettes(id), table.source)
            self._checked.add(id)
        return table

    def silhouettes(self, id: str, views: int = CHECKED_VIEWS) -> SilhouetteViews:
        """Return alphas, viewmats and intrinsics of ``views`` views spread over those of an object.

        Raises:
            UsageError: an image cannot be read.
        """
        table = self.transforms(id)
        count = len(table.images)
        chosen = np.linspace(0, count - 1, min(count, views)).round().astype(int)
        alphas = np.stack([self._image(id, int(index), CHECKED_SIZE)[..., 3] for index in chosen]) / 255
        return alphas, table.viewmats.numpy()[chosen], table.Ks.double().numpy()[chosen]
