"""Rendered objects on disk: one safetensors file each, made once, safe to share between processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geotrap_cli.atomic import write_bytes
from geotrap_cli.data.parallel import run_all
from geotrap_cli.data.procedural.registry import CONTENT_VERSION, build_object, parse_id
from geotrap_cli.data.raycast import render_views, surface_points
from geotrap_cli.data.rig import VIEWS

POINT_SIZE = 32


@dataclass(frozen=True)
class Rendered:
    """One object seen by the whole rig.

    Attributes:
        rgba: Straight-alpha pictures [24, S, S, 4], uint8.
        points: First surface points [24, 32, 32, 3] at the pixel centres of a 32 px picture, float16, z up; NaN where
            a ray misses.

    """

    rgba: NDArray[np.uint8]
    points: NDArray[np.float16]


@dataclass(frozen=True)
class RenderCache:
    """A folder of rendered objects for one seed and picture size.

    Attributes:
        root: Where the folder of this seed and size lies.
        seed: Seed of the objects.
        size: Picture size in pixels.

    """

    root: Path
    seed: int
    size: int

    @property
    def folder(self) -> Path:
        """Folder of this content version, seed and size."""
        return self.root / f"procedural-v{CONTENT_VERSION}-seed{self.seed}-{self.size}px"

    def path(self, id: str) -> Path:
        """File of object ``id``."""
        return self.folder / f"{id}.safetensors"

    def load(self, id: str) -> Rendered:
        """The rendered object, made now if its file is missing, cut short or of another shape."""
        return self._read(id) or self._make(id)

    def prepare(
        self, ids: Sequence[str], workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Make every missing object of ``ids`` in ``workers`` processes (default: one a core).

        Args:
            ids: Objects to make.
            workers: Number of processes; 1 makes them in this one.
            progress: Called with (objects done, objects to make).

        """
        missing = [id for id in ids if not self.path(id).is_file()]
        if missing:
            # A folder that cannot be made is better told before an hour of rendering.
            self.folder.mkdir(parents=True, exist_ok=True)
        for done, _ in enumerate(run_all(self._make_file, missing, workers), start=1):
            if progress is not None:
                progress(done, len(missing))

    def _read(self, id: str) -> Rendered | None:
        try:
            arrays = load(self.path(id).read_bytes())
            found = Rendered(arrays["rgba"], arrays["points"])
        except (FileNotFoundError, SafetensorError, KeyError):
            return None
        whole = found.rgba.shape == (VIEWS, self.size, self.size, 4) and found.rgba.dtype == np.uint8
        return found if whole and found.points.shape == (VIEWS, POINT_SIZE, POINT_SIZE, 3) else None

    def _make_file(self, id: str) -> None:
        self._make(id)

    def _make(self, id: str) -> Rendered:
        category, index = parse_id(id)
        mesh = build_object(category, index, self.seed)
        made = Rendered(render_views(mesh, self.size), surface_points(mesh, POINT_SIZE).astype(np.float16))
        write_bytes(self.path(id), save({"rgba": made.rgba, "points": made.points}))
        return made


def default_root() -> Path:
    """The folder named by GEOTRAP_CACHE, or the user's cache folder."""
    named = os.environ.get("GEOTRAP_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("geotrap", appauthor=False)
