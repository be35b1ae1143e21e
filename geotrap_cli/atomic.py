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


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that takes its place when the block succeeds.

    The temporary may become a file or a folder; a folder replaces an existing folder. Whatever the block
    wrote is removed when it raises.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _replace(temporary, target)
    finally:
        _remove(temporary)


def _replace(temporary: Path, target: Path) -> None:
    if temporary.is_dir() and target.is_dir():
        # A folder cannot be renamed over a folder that has content: the old one steps aside first.
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        target.rename(aside)
        temporary.rename(target)
        shutil.rmtree(aside)
        return
    if temporary.is_file():
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
    temporary.replace(target)


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
