"""Profile files: finding them by path or shipped name, and following ``extends``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import tomli

from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import suggestion
from geotrap_cli.profile.layers import Layers, Origin
from geotrap_cli.run_folder import MANIFEST, PROFILE
from geotrap_cli.typed_paths import typed_path

SHIPPED_PACKAGE = "geotrap_cli.shipped_profiles"


def shipped_profiles() -> dict[str, Path]:
    """The profiles that come with the program: name -> file."""
    files = [Path(str(item)) for item in resources.files(SHIPPED_PACKAGE).iterdir() if item.name.endswith(".toml")]
    return {file.stem: file for file in sorted(files)}


def find_profile(name: str, folder: Path | None = None) -> Path:
    """The file that ``name`` means: a path (from ``folder``) first, then a shipped name; ``.toml`` may be left out.

    Raises:
        UsageError: There is no such file and no such shipped profile.
    """
    stated = (folder or Path.cwd()) / typed_path(name)
    for candidate in (stated, Path(f"{stated}.toml")):
        if candidate.is_file():
            return candidate.resolve()
    shipped = shipped_profiles()
    short = name.removesuffix(".toml")
    if short in shipped:
        return shipped[short]
    raise UsageError(f"no profile '{name}'", hint=suggestion(short, shipped))


def is_shipped(path: Path) -> bool:
    """Whether ``path`` is one of the shipped profiles."""
    return path in shipped_profiles().values()


def purpose(path: Path) -> str:
    """What a profile is for: its first comment line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            return line.lstrip("# ").strip()
        if line.strip():
            break
    return ""


def add_file(layers: Layers, path: Path, below: tuple[Path, ...] = ()) -> None:
    """Lay the profile ``path`` over ``layers``, after the profiles that it extends.

    Raises:
        UsageError: The file cannot be read, is not TOML, or extends itself.
    """
    if path in below:
        chain = " -> ".join(file.name for file in (*below[below.index(path) :], path))
        raise UsageError(f"profiles extend each other in a circle: {chain}", hint=f"remove one `extends` of {path}")
    tables = read_toml(path)
    for base in _bases(tables.pop("extends", []), path):
        add_file(layers, find_profile(base, path.parent), (*below, path))
    of_run = path.name == PROFILE and (path.parent / MANIFEST).is_file()
    label = f"run {path.parent.name}" if of_run else f"profile {path.name}"
    layers.add(tables, Origin(label, path.parent, of_run))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: The file cannot be read, or is not TOML; with the line and column.
    """
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read profile {path}: {error}") from error
    except tomli.TOMLDecodeError as error:
        raise UsageError(f"profile {path} is not TOML: {error}") from error


def _bases(extends: Any, path: Path) -> list[str]:
    bases = [extends] if isinstance(extends, str) else extends
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UsageError(f"profile {path}: extends: expects a profile or a list of profiles, got {extends!r}")
    return bases
