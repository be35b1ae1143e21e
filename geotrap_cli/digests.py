"""Digests of files that may be too large to be read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

_BLOCK = 1 << 20


class Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""


def feed_file(digest: Digest, path: Path) -> None:
    """Take the content of a file into ``digest``, block by block.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
