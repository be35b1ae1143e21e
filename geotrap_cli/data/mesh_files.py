"""Finding mesh files, and the files that they refer to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from geotrap_cli.errors import UsageError

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
Y_UP = (".glb", ".gltf", ".obj")
"""Formats whose up axis is y, by standard (glTF) or custom (OBJ); the others are taken as z-up."""
_NAME = re.compile(r"[^\w.-]+")
_UNNAMED = ("", ".", "..")


@dataclass(frozen=True)
class MeshFile:
    """A mesh and the object that it becomes.

    Args:
        path: the file.
        category: folder that the object's views go to.
        name: name of the object in it.
    """

    path: Path
    category: str
    name: str

    @property
    def id(self) -> str:
        """``category/name``."""
        return f"{self.category}/{self.name}"


def find_meshes(paths: Sequence[Path], category: str | None = None) -> list[MeshFile]:
    """Return the meshes among ``paths`` and in the folders among them, sorted by id.

    The first folder below a folder that was named is the category, and the rest of the path is the name; a file's
    category is the folder that it lies in. ``category`` replaces either.

    Raises:
        UsageError: a path does not exist or is no mesh, there are none, or two would become one object.
    """
    found: dict[str, MeshFile] = {}
    for path in paths:
        for file, parts in _meshes(path):
            own = parts[0] if len(parts) > 1 else file.resolve().parent.name
            rest = parts if category or len(parts) == 1 else parts[1:]
            mesh = MeshFile(file, _clean(category or own), _clean("_".join((*rest[:-1], Path(rest[-1]).stem))))
            other = found.setdefault(mesh.id, mesh)
            if other.path.resolve() != file.resolve():
                what = f"{other.path} and {file} would both become {mesh.id}"
                raise UsageError(
                    what, hint="Name a folder around both, rename one, or render them to different folders"
                )
    if not found:
        raise UsageError("no meshes", hint=f"Name files or folders of {', '.join(SUFFIXES)}")
    return [found[id] for id in sorted(found)]


def mesh_digest(path: Path) -> bytes:
    """Return a hash of a mesh file and of all files that it refers to.

    Raises:
        UsageError: one of them is missing.
    """
    digest = hashlib.blake2b(path.suffix.lower().encode(), digest_size=16)
    for file in (path, *referenced_files(path)):
        digest.update(hashlib.blake2b(_content(file)).digest())
    return digest.digest()


def referenced_files(path: Path) -> list[Path]:
    """Return the files that a mesh file needs beside itself: materials and textures of OBJ, buffers of glTF.

    Raises:
        UsageError: one is missing: the mesh would silently lose its colours.
    """
    suffix = path.suffix.lower()
    names = {".obj": _of_obj, ".gltf": _of_gltf}.get(suffix, lambda _: [])(path)
    for name in names:
        if not name.is_file():
            raise UsageError(f"{name}: not found", hint=f"{path} refers to it: restore it, or remove the reference")
    return names


def _meshes(path: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """The meshes at or below ``path``, with the parts of their names below it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        below = [(file, file.relative_to(path).parts) for file in files]
        return [(file, parts) for file, parts in below if not any(part.startswith(".") for part in parts)]
    if not path.is_file():
        raise UsageError(f"{path}: not found", hint="Name mesh files, or folders of them")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: not a mesh of a known format", hint=f"They are {', '.join(SUFFIXES)}")
    return [(path, (path.name,))]


def _clean(name: str) -> str:
    """A name that is one folder on every system, and not a hidden one."""
    cleaned = _NAME.sub("_", name).lstrip(".")
    if cleaned in _UNNAMED:
        raise UsageError(f"{name!r} is no name for an object or a category", hint="Use letters and digits")
    return cleaned


def _of_obj(path: Path) -> list[Path]:
    libraries = [path.parent / name for name in _values(path, "mtllib")]
    textures = [
        library.parent / name.replace("\\", "/")
        for library in libraries
        if library.is_file()
        for name in _values(library, "map_Kd")
    ]
    return list(dict.fromkeys([*libraries, *textures]))


def _values(path: Path, keyword: str) -> list[str]:
    """The last word of each line that starts with ``keyword`` (options may come before a texture's name)."""
    lines = (line.strip() for line in _content(path).decode("utf-8", errors="replace").splitlines())
    rests = [line[len(keyword) :].strip() for line in lines if line.startswith(f"{keyword} ")]
    return [rest if not rest.startswith("-") else rest.split()[-1] for rest in rests if rest]


def _of_gltf(path: Path) -> list[Path]:
    try:
        table = json.loads(_content(path))
        entries = [*table.get("buffers", []), *table.get("images", [])]
        names = [entry["uri"] for entry in entries if "uri" in entry]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UsageError(f"{path}: not a glTF file", hint="Export it again") from error
    return [path.parent / unquote(name) for name in names if not name.startswith("data:")]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
