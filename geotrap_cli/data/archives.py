"""Indexes of ``.tar`` and ``.zip`` files, so that members can be read in any order, by threads and processes alike."""

from __future__ import annotations

import errno
import os
import posixpath
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geotrap_cli.errors import UsageError

_PACK_AGAIN = "Pack the data set's folder again, with plain files and relative names"


class Archive(ABC):
    """The files of an archive by name.

    Attributes:
        path: the archive.
        sizes: bytes of each file by its name inside.
        folders: names in each folder, sorted; the top is the empty name.
    """

    def __init__(self, path: Path, sizes: dict[str, int]) -> None:
        self.path, self.sizes = path, sizes
        self.folders = _folders(sizes)

    def read(self, name: str) -> bytes:
        """Return the content of the member ``name``.

        Raises:
            OSError: there is no such member, or it is damaged.
        """
        if name not in self.sizes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / name))
        content = self._read(name)
        if len(content) != self.sizes[name]:
            raise OSError(errno.EIO, "the archive is cut short", str(self.path / name))
        return content

    @abstractmethod
    def _read(self, name: str) -> bytes: ...


class TarArchive(Archive):
    """A tar that is not compressed: members are read by offset from a file opened for each read."""

    def __init__(self, path: Path) -> None:
        self._offsets: dict[str, int] = {}
        sizes = {}
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                name = _checked_name(path, member.name)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise UsageError(f"{path}: member {member.name!r} is no plain file", hint=_PACK_AGAIN)
                # As in unpacking, a later member of one name replaces an earlier one.
                sizes[name], self._offsets[name] = member.size, member.offset_data
        super().__init__(path, sizes)

    def _read(self, name: str) -> bytes:
        with self.path.open("rb") as handle:
            handle.seek(self._offsets[name])
            return handle.read(self.sizes[name])


class ZipArchive(Archive):
    """A zip file. Its handle is shared by threads, and opened anew after a fork or a pickle."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        self._names = {}
        for member in members:
            name = _checked_name(path, member.filename)
            if member.flag_bits & 1 or (member.external_attr >> 28) == 0o12:
                raise UsageError(f"{path}: member {member.filename!r} is no plain file", hint=_PACK_AGAIN)
            self._names[name] = member.filename
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        super().__init__(path, {_clean(member.filename): member.file_size for member in members})

    def _read(self, name: str) -> bytes:
        try:
            return self._handle().read(self._names[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise OSError(errno.EIO, f"damaged in the archive ({error})", str(self.path / name)) from error

    def _handle(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def open_archive(path: Path) -> Archive:
    """Index a ``.tar`` or ``.zip`` file.

    Raises:
        UsageError: it is damaged, or a member is a link or device, or has an absolute name or one with "..".
    """
    try:
        return ZipArchive(path) if path.suffix.lower() == ".zip" else TarArchive(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path}: damaged archive ({error})", hint="Copy it again, or pack it again") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _checked_name(path: Path, name: str) -> str:
    # Backslashes and drive letters are separators on one system only; data sets have neither.
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or parts[0].endswith(":"):
        raise UsageError(f"{path}: member {name!r} points outside the archive", hint=_PACK_AGAIN)
    return _clean(name)


def _clean(name: str) -> str:
    return posixpath.normpath(name)


def _folders(files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names in each folder, from the names of all files."""
    found: dict[str, set[str]] = defaultdict(set)
    found[""] = set()
    for file in files:
        name = file
        while name:
            parent, own = posixpath.split(name)
            found[parent].add(own)
            name = parent
    return {folder: tuple(sorted(names)) for folder, names in found.items()}
