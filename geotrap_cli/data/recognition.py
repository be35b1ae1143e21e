"""Which of the built-in readers a folder is for, by its first object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from geotrap_cli.data.files import DataPath, open_folder, subfolders
from geotrap_cli.errors import UsageError

_NUMBERED = re.compile(r".+_\d+")


def recognise(path: Path) -> str:
    """Return the key of the reader that ``path`` is for.

    Raises:
        UsageError: there is no such folder, or no reader is known to be for it.
    """
    root = open_folder(path)
    for key, fits in _SIGNS.items():
        if any(fits(folder, depth) for folder, depth in _first_folders(root)):
            return key
    what = f"{path}: the layout is that of no built-in data set"
    raise UsageError(what, hint="Name its reader with --format; `geotrap plugins` lists them")


def _first_folders(root: DataPath) -> Iterator[tuple[DataPath, int]]:
    """The first folders one and two levels below the root."""
    inner = root / "img"
    for folder in list(subfolders(inner if inner.is_dir() else root).values())[:1]:
        yield folder, 1
        yield from ((own, 2) for own in list(subfolders(folder).values())[:1])


def _has(*names: str) -> Callable[[DataPath, int], bool]:
    return lambda folder, _: all((folder / name).exists() for name in names)


def _is_omniobject3d(folder: DataPath, _: int) -> bool:
    return bool(_NUMBERED.fullmatch(folder.name)) and _has("transforms.json", "000.png")(folder, 1)


# The most particular first: several hold a transforms.json.
_SIGNS: dict[str, Callable[[DataPath, int], bool]] = {
    "gobjaverse": _has("campos_512_v4"),
    "omniobject3d_100": _has("render/transforms.json"),
    "nerf_synthetic": _has("transforms_train.json"),
    "zero123": _has("000.npy", "000.png"),
    "omniobject3d_24": _is_omniobject3d,
    "google_scanned": lambda folder, depth: depth == 1 and _has("transforms.json", "r_000.png")(folder, depth),
    "blender": lambda folder, depth: depth == 2 and _has("transforms.json")(folder, depth),
}
