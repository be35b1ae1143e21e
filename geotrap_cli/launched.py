"""Whether a launcher (``accelerate launch``, ``torchrun``) started this process as one of several. Light to import."""

from __future__ import annotations

import os

from geotrap_cli.errors import UsageError

#: Commands that several processes can share; every other one would be done once by each of them.
SHARED = ("train", "attack", "pretrain")


def process_count() -> int:
    """How many processes were launched together; 1 without a launcher."""
    return max(1, int(os.environ.get("WORLD_SIZE") or 1))


def process_index() -> int:
    """The place of this process among them, from 0; the first one writes."""
    return int(os.environ.get("RANK") or 0) if process_count() > 1 else 0


def is_follower() -> bool:
    """Whether another process speaks and writes for this one."""
    return process_index() > 0


def shares_machine() -> bool:
    """Whether a process that stands before this one runs on the same machine, and so sees the same files."""
    return is_follower() and int(os.environ.get("LOCAL_RANK") or 0) > 0


def refuse_several(command: str) -> None:
    """Refuse a command that would run once in every process.

    Raises:
        UsageError: Several processes were launched, and ``command`` is none that they can share.
    """
    if process_count() > 1 and command not in SHARED:
        what = f"geotrap {command} runs in one process, and {process_count()} were launched"
        raise UsageError(what, f"Start it without a launcher; {', '.join(SHARED)} can be launched")
