"""Folders of a data set, on disk or inside a ``.tar`` or ``.zip``: readers see no difference, and nothing is extracted.

An archive stands for the folder that it would unpack to. Members are read in place, straight from their bytes in the
archive: a tar must therefore not be compressed as a whole.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from geotrap_cli.data.archives import Archive, open_archive
from geotrap_cli.errors import UsageError

ARCHIVES = (".tar", ".zip")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class ArchivePath:
    """A file or folder inside an archive, with the part of :class:`pathlib.Path` that readers use.

    Args:
        archive: the archive.
        inner: the name inside it, without leading or trailing slash; empty for its top.
    """

    archive: Archive
    inner: str = ""

    def __str__(self) -> str:
        return str(self.archive.path / self.inner)

    def __truediv__(self, other: str) -> ArchivePath:
        # A path out of the archive keeps its dots, so that no member has its name.
        joined = posixpath.normpath(posixpath.join(self.inner, other))
        return ArchivePath(self.archive, "" if joined == "." else joined)

    @property
    def name(self) -> str:
        """Last part of the name."""
        return PurePosixPath(self.inner).name or self.archive.path.name

    @property
    def suffix(self) -> str:
        """Extension of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> ArchivePath:
        """The folder around it; the top of an archive is its own parent."""
        return ArchivePath(self.archive, posixpath.dirname(self.inner))

    def exists(self) -> bool:
        """Whether the archive has such a file or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether it is a file of the archive."""
        return self.inner in self.archive.sizes

    def is_dir(self) -> bool:
        """Whether it is a folder of the archive."""
        return self.inner in self.archive.folders

    def iterdir(self) -> Iterator[ArchivePath]:
        """Yield what the folder holds."""
        for name in self.archive.folders.get(self.inner, ()):
            yield self / name

    def size(self) -> int:
        """Bytes of the file."""
        return self.archive.sizes[self.inner]

    def read_bytes(self) -> bytes:
        """Return the content of the file.

        Raises:
            OSError: there is no such file, or the archive is cut short.
        """
        return self.archive.read(self.inner)


DataPath: TypeAlias = Path | ArchivePath
"""A file or folder of a data set."""


def open_folder(path: Path) -> DataPath:
    """Open a folder or an archive that stands for one.

    Raises:
        UsageError: there is neither, or the archive is damaged, compressed as a whole, or has a member that points
            outside.
    """
    if path.is_dir():
        return path
    if not path.is_file():
        raise UsageError(f"{path}: no such folder", hint="Name a folder, or a .tar or .zip file that holds one")
    if path.name.lower().endswith(COMPRESSED):
        what = f"{path}: a tar that is compressed as a whole cannot be read in place"
        raise UsageError(what, hint="Decompress it to a .tar, for example with gunzip; there is no need to unpack that")
    if path.suffix.lower() not in ARCHIVES:
        raise UsageError(f"{path}: neither a folder nor a .tar or .zip file", hint="Name the data set's folder")
    return _without_own_name(ArchivePath(open_archive(path)), path.stem)


def subfolders(folder: DataPath) -> dict[str, DataPath]:
    """Return the folders in ``folder`` by name, sorted; an archive on disk stands for a folder of its stem.

    Hidden ones are left out.

    Raises:
        UsageError: a folder and an archive have one name, or an archive cannot be read.
    """
    found: dict[str, DataPath] = {}
    for child in sorted(children(folder), key=lambda path: path.name):
        archived = isinstance(child, Path) and child.suffix.lower() in ARCHIVES and child.is_file()
        if child.name.startswith(".") or not (archived or child.is_dir()):
            continue
        name = Path(child.name).stem if archived else child.name
        if name in found:
            raise UsageError(f"{folder}: {name!r} is there twice", hint="Keep the folder or its archive, not both")
        found[name] = open_folder(child) if isinstance(child, Path) else child
    return dict(sorted(found.items()))


def children(folder: DataPath) -> list[DataPath]:
    """Return all that is in ``folder``."""
    return list(folder.iterdir())


def has_compressed_tars(folder: DataPath) -> bool:
    """Whether ``folder`` holds tars that would have to be decompressed first."""
    return any(child.name.lower().endswith(COMPRESSED) for child in children(folder))


def relative_name(path: DataPath, root: DataPath) -> str:
    """Return the name of ``path`` below ``root`` with forward slashes, the same on every machine.

    Raises:
        UsageError: it lies outside.
    """
    absolute = posixpath.normpath(Path(str(path)).as_posix())
    top = posixpath.normpath(Path(str(root)).as_posix())
    name = posixpath.relpath(absolute, top)
    if name.startswith(".."):
        raise UsageError(f"{path}: lies outside the data set {root}", hint="Name files relative to their pose file")
    return name


def file_size(path: DataPath) -> int:
    """Return the bytes of a file.

    Raises:
        UsageError: there is no such file.
    """
    try:
        return path.size() if isinstance(path, ArchivePath) else path.stat().st_size
    except (OSError, KeyError) as error:
        raise UsageError(f"{path}: not found", hint="Bring it back, or remove what names it") from error


def read_bytes(path: DataPath) -> bytes:
    """Return the content of a file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _without_own_name(top: ArchivePath, stem: str) -> ArchivePath:
    """The folder that an archive holds, where that folder is all it holds and has the archive's name."""
    return top / stem if top.archive.folders[""] == (stem,) and (top / stem).is_dir() else top
