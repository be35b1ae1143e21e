"""Results go to stdout, everything else to stderr; either for people or as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.launched import is_follower, process_index, shares_machine

if TYPE_CHECKING:
    from rich.console import Console

    from geotrap_cli.options import CommandResult, CommonOptions

INTERRUPTED = 130
# Wide enough for every table: a pipe has no width of its own.
PIPE_WIDTH = 160


def make_console(stderr: bool = False) -> Console:
    """A console for stdout or stderr; without colour when piped or when NO_COLOR is set.

    Texts are printed as they are: paths and messages may hold the brackets of rich's markup. Of several processes, only
    the first one's console writes anything.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, soft_wrap=False, quiet=is_follower())


def show(options: CommonOptions, result: CommandResult) -> None:
    """Write ``result`` to stdout, then raise its ``failure`` if it has one."""
    if options.json:
        write_json(result.payload())
    else:
        result.render(make_console())
    failure = getattr(result, "failure", None)
    if failure is not None:
        raise failure


def write_json(payload: Any) -> None:
    """Write one JSON document to stdout; NaN is refused. Of several processes, only the first one does."""
    if is_follower():
        return
    sys.stdout.write(json.dumps(payload, indent=2, allow_nan=False) + "\n")


def warn(options: CommonOptions, text: str) -> None:
    """Write a warning to stderr, unless ``--quiet``."""
    if not options.quiet and not is_follower():
        sys.stderr.write(f"warning: {text}\n")


def write_error(error: GeotrapError, as_json: bool) -> None:
    """Write an error to stderr: one line, or one JSON object. One that other processes meet as well is told once."""
    if is_follower() and _is_joint(error):
        return
    if is_follower():
        sys.stderr.write(f"error: process {process_index()}: {error}\n")
        return
    if as_json:
        document = {"error": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}}
        sys.stderr.write(json.dumps(document) + "\n")
    else:
        sys.stderr.write(f"error: {error}\n")


def _is_joint(error: GeotrapError) -> bool:
    """Whether every process meets this error: it follows from what they share."""
    interrupted = error.exit_code == INTERRUPTED
    return interrupted or isinstance(error, NonFiniteError) or (isinstance(error, UsageError) and shares_machine())
