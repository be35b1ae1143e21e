"""The program ``geotrap``: parse, run, and turn whatever happens into an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from geotrap_cli.cli.argv import normalise
from geotrap_cli.launched import refuse_several

COMPLETION_VARIABLE = "_GEOTRAP_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's) names, and return its exit code.

    0 finished, whatever the verdict · 1 run-time error · 2 usage, profile or unreadable input · 3 a ``--gate``
    failed · 4 ``--require-valid`` and the verdict is not VALID · 130 interrupted.
    """
    arguments = normalise(sys.argv[1:] if argv is None else argv)
    with _noting_interrupts() as pressed:
        try:
            return _invoke(arguments)
        except (Exception, KeyboardInterrupt) as error:
            return _report(_interrupt(error) if pressed else error, arguments)


@contextlib.contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Note every Ctrl-C, which raises KeyboardInterrupt as usual.

    Libraries in C swallow one that comes while they are imported, and fail over something else later.
    """
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        pressed.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        # Whoever runs the program inside another one, or in the background, has a handler of their own.
        yield pressed
        return
    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:
        # Not the main thread: signals go elsewhere.
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(error: BaseException) -> BaseException:
    """``error`` itself where it tells of the interrupt, else an interrupt in its place."""
    from geotrap_cli.cli.failures import InterruptedRunError

    return error if isinstance(error, KeyboardInterrupt | InterruptedRunError) else KeyboardInterrupt()


def _invoke(arguments: list[str]) -> int:
    import typer.main

    from geotrap_cli.cli.app import app

    command: Any = typer.main.get_command(app)
    words = list(arguments)
    # Straight to the command meant: parsing the options of the groups above it makes Typer import pydantic, which
    # would double the time that help takes.
    while words and COMPLETION_VARIABLE not in os.environ and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    path = arguments[: len(arguments) - len(words)]
    if path:
        refuse_several(" ".join(path))
    code = command.main(words, prog_name=" ".join(["geotrap", *path]), standalone_mode=False)
    return code if isinstance(code, int) else 0


def _report(error: BaseException, arguments: Sequence[str]) -> int:
    import typer

    from geotrap_cli.cli.failures import describe
    from geotrap_cli.cli.output import write_error

    if "--debug" in arguments:
        traceback.print_exception(error)
    command = arguments[0] if arguments else ""
    shown = describe(KeyboardInterrupt() if isinstance(error, typer.Abort) else error, command)
    write_error(shown, as_json="--json" in arguments)
    return shown.exit_code


if __name__ == "__main__":
    sys.exit(main())
