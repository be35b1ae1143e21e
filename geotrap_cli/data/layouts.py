"""Where the objects of a data set lie below its root: flat, or in folders or archives of a category or shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geotrap_cli.data.files import DataPath, has_compressed_tars, subfolders
from geotrap_cli.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Where an object lies.

    Args:
        parent: name of the folder or archive between the root and the object; empty where it lies right below the root.
        name: name of the object's folder.
        folder: the object's folder.
    """

    parent: str
    name: str
    folder: DataPath

    @property
    def id(self) -> str:
        """``parent/name``, or the name alone."""
        return f"{self.parent}/{self.name}" if self.parent else self.name


def category_folders(root: DataPath, layout: str) -> dict[str, DataPath]:
    """Return the folders and archives right below ``root``.

    Raises:
        UsageError: there are none.
    """
    found = subfolders(root)
    if not found and has_compressed_tars(root):
        hint = "Decompress them to .tar, for example with gunzip; there is no need to unpack those"
        raise UsageError(f"{root}: only tars that are compressed as a whole, which cannot be read in place", hint=hint)
    if not found:
        raise UsageError(f"{root}: no objects", hint=f"Expected {layout}")
    return found


def find_objects(root: DataPath, marker: str, layout: str) -> Iterator[Place]:
    """Yield the folders that hold ``marker``, right below ``root`` or one level deeper, sorted.

    A folder that neither holds it nor has folders that do is an error, not a smaller data set.

    Raises:
        UsageError: there are no objects, or one is incomplete.
    """
    for name, folder in category_folders(root, layout).items():
        if (folder / marker).exists():
            yield Place("", name, folder)
            continue
        inner = subfolders(folder)
        if not inner:
            raise not_found(folder / marker, layout)
        for own, place in inner.items():
            if not (place / marker).exists():
                raise not_found(place / marker, layout)
            yield Place(name, own, place)


def not_found(path: DataPath, layout: str) -> UsageError:
    """Return the error for a file that the layout needs."""
    return UsageError(f"{path}: not found", hint=f"Expected {layout}")
