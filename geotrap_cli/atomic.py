"""Files and folders that are either whole or absent, whatever interrupts the writer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY, ASIDE = ".tmp", ".old"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its place when the block succeeds.

    The temporary may become a file or a folder; a folder replaces an existing folder. Whatever the block
    wrote is removed when it raises. What a killed process leaves behind, :func:`recover` puts in order.

    Raises:
        OSError: The path cannot be written; a full disk, which the system reports without a name, is told with it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(target, TEMPORARY)
    try:
        yield temporary
        _replace(temporary, target)
    except OSError as error:
        # The user knows the target, not the temporary that the system may have named.
        if error.filename is None or Path(error.filename) == temporary:
            error.filename = str(target)
        raise
    finally:
        _remove(temporary)


def recover(path: str | Path) -> None:
    """Put ``path`` in order after a process was killed while it replaced it; only where nobody else writes it.

    A folder is replaced by two renames. Killed between them, ``path`` is missing and its former content lies beside
    it: that is put back. Half-written temporaries are removed.
    """
    target = Path(path)
    for aside in target.parent.glob(f".{target.name}.*{ASIDE}"):
        if target.exists():
            _remove(aside)
        else:
            aside.rename(target)
    for temporary in target.parent.glob(f".{target.name}.*{TEMPORARY}"):
        _remove(temporary)


def _sibling(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{suffix}")


def _replace(temporary: Path, target: Path) -> None:
    _flush(temporary)
    if temporary.is_dir() and target.is_dir():
        # A folder cannot be renamed over a folder that has content: the old one steps aside first.
        aside = _sibling(target, ASIDE)
        target.rename(aside)
        temporary.rename(target)
        shutil.rmtree(aside)
        return
    temporary.replace(target)


def _flush(path: Path) -> None:
    """Have the disk hold the content before the rename: a power cut must not leave a whole name on an empty file."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, refusing NaN and infinity (JSON has neither)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
