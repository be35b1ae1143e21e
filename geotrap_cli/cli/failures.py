"""Every way a command can end badly, as one error with an exit code."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from geotrap_cli.errors import GeotrapError, UsageError

INTERRUPTED = 130
RESUMABLE = ("train", "attack", "pretrain", "sweep", "analyze-layers")
REPEATABLE = ("bench",)

_BATCH_KEYS = {
    "train": ("train.batch_size", "eval.batch_size"),
    "pretrain": ("train.batch_size", "eval.batch_size"),
    "attack": ("attack.batch_size", "eval.batch_size"),
    "sweep": ("train.batch_size", "attack.batch_size", "eval.batch_size"),
}

_OS_HINTS = {
    errno.ENOSPC: "free some space, or choose another disk with --runs or GEOTRAP_CACHE",
    errno.EDQUOT: "free some space, or choose another disk with --runs or GEOTRAP_CACHE",
    errno.EACCES: "check the permissions, or choose another folder with --runs or GEOTRAP_CACHE",
    errno.EROFS: "choose another folder with --runs or GEOTRAP_CACHE",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
    errno.EISDIR: "a folder stands where a file is needed: choose another name",
}


class InterruptedRunError(GeotrapError):
    """The user interrupted the command."""

    exit_code = INTERRUPTED


def describe(error: BaseException, command: str = "") -> GeotrapError:
    """``error`` of ``command`` as something to show, whatever it is; a bug of the program is named as such."""
    if isinstance(error, GeotrapError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return describe_interrupt(error, "")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return GeotrapError("out of memory", hint=_memory_hint(command))
    if isinstance(error, OSError):
        return _os_error(error)
    if is_usage_error(error):
        return _usage(error)
    kind = type(error).__name__
    return GeotrapError(f"internal error: {kind}: {_one_line(str(error))}", hint="--debug shows where it happened")


def describe_interrupt(error: BaseException, command: str) -> InterruptedRunError:
    """What to say when the user interrupted ``command``: where the state is, and how to go on."""
    if command in REPEATABLE:
        return InterruptedRunError("interrupted", hint="the same command goes on where it stopped")
    if command not in RESUMABLE:
        return InterruptedRunError("interrupted")
    path = getattr(error, "run_path", None)
    if path is None:
        return InterruptedRunError("interrupted before the run began")
    hint = f"go on with `geotrap {command} --resume {path}`"
    return InterruptedRunError(f"interrupted: the state is in {path}", hint=hint)


def _memory_hint(command: str) -> str:
    keys = _BATCH_KEYS.get(command)
    if keys is None:
        return "close what else uses memory, or use a machine with more"
    return f"use smaller batches, such as {' '.join(f'--set {key}=1' for key in keys)}"


def is_usage_error(error: BaseException) -> bool:
    """Whether the argument parser raised ``error`` (its classes moved between releases of Typer)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _os_error(error: OSError) -> GeotrapError:
    where = error.filename or getattr(error, "run_path", None)
    what = error.strerror or str(error) or type(error).__name__
    hint = _OS_HINTS.get(error.errno or 0)
    if hint and hasattr(error, "run_path"):
        hint += "; --resume goes on with the run"
    return GeotrapError(f"{what}: {where}" if where else what, hint=hint)


def _usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "geotrap"
    message = _one_line(error.format_message()).rstrip(".")
    return UsageError(message, hint=None if message.endswith("?") else f"see `{command} --help`")


def _one_line(text: str | Sequence[str]) -> str:
    return " ".join(str(text).split())
