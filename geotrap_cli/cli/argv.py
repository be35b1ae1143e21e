"""Argument lists as people type them, rewritten to the form the parser understands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

GROUPS = ("data", "profiles")
VALUE_OPTIONS = ("--device", "--seed", "--runs", "--run", "--profile", "-p", "--set", "--resume")
FLAGS = ("--json", "--quiet", "-q", "--debug", "--dry-run")


def normalise(argv: Sequence[str]) -> list[str]:
    """Let shared options come before the command, ``--resume`` stand alone, and ``--traps`` take several names."""
    arguments = _spread(_complete_resume(list(argv)), "--traps")
    arguments = _hoist_command(arguments)
    bare = not arguments or (len(arguments) == 1 and arguments[0] in GROUPS)
    return [*arguments, "--help"] if bare else arguments


def _complete_resume(argv: list[str]) -> list[str]:
    """``--resume`` alone means the latest run; a word after it is its value only when it looks like a run."""
    completed: list[str] = []
    for index, token in enumerate(argv):
        completed.append(token)
        following = argv[index + 1] if index + 1 < len(argv) else ""
        if token == "--resume" and not _names_a_run(following):
            completed.append("latest")
    return completed


def _names_a_run(word: str) -> bool:
    if not word or word.startswith("-"):
        return False
    return word == "latest" or "/" in word or "\\" in word or Path(word).is_dir()


def _spread(argv: list[str], option: str) -> list[str]:
    """``--traps position scale`` as ``--traps position --traps scale``."""
    spread: list[str] = []
    collecting = False
    for token in argv:
        if token.startswith("-"):
            collecting = token == option
            if not collecting:
                spread.append(token)
        elif collecting:
            spread.extend([option, token])
        else:
            spread.append(token)
    if argv and argv[-1] == option:
        # Nothing follows: let the parser say that a value is missing.
        spread.append(option)
    return spread


def _hoist_command(argv: list[str]) -> list[str]:
    """Move shared options that stand before the command (or the command of a group) behind it."""
    rest, path, options = list(argv), [], []
    while rest:
        token = rest[0]
        if token.startswith("-"):
            width = _width(token)
            if not width:
                break
            options += rest[:width]
            rest = rest[width:]
            continue
        path.append(rest.pop(0))
        if token not in GROUPS or len(path) == 2:
            break
    return [*path, *options, *rest]


def _width(token: str) -> int:
    """How many words a shared option takes; 0 for any other option."""
    name, equals, _ = token.partition("=")
    if name in VALUE_OPTIONS:
        return 1 if equals else 2
    return 1 if token in FLAGS else 0
