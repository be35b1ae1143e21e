"""The command-line form of the options that commands share: one definition each."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from geotrap_cli.cli.failures import describe_interrupt
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device!r} is no device", hint="use auto, cpu or cuda:N")
    return device


_COMMON = "Common options"
_PROFILE = "Profile"
_RUNS = "Runs"

_PARAMETERS: dict[str, tuple[Any, Any]] = {
    "profile": (
        Annotated[
            str | None,
            typer.Option(
                "--profile", "-p", metavar="PATH|NAME", help="TOML file or shipped name.", rich_help_panel=_PROFILE
            ),
        ],
        None,
    ),
    "overrides": (
        Annotated[
            list[str] | None,
            typer.Option("--set", metavar="KEY=VALUE", help="Change one value; repeatable.", rich_help_panel=_PROFILE),
        ],
        None,
    ),
    "runs": (
        Annotated[
            Path | None,
            typer.Option(
                "--runs", metavar="FOLDER", help="Folder of all runs [GEOTRAP_RUNS, ./runs].", rich_help_panel=_RUNS
            ),
        ],
        None,
    ),
    "run": (
        Annotated[
            Path | None,
            typer.Option(
                "--run", metavar="PATH", help="The run to work on, instead of the latest.", rich_help_panel=_RUNS
            ),
        ],
        None,
    ),
    "resume": (
        Annotated[
            str | None,
            typer.Option(
                "--resume", metavar="[PATH]", help="Continue this run, or the latest unfinished.", rich_help_panel=_RUNS
            ),
        ],
        None,
    ),
    "device": (
        Annotated[
            str,
            typer.Option(
                "--device",
                metavar="auto|cpu|cuda:N",
                help="Where to compute.",
                callback=_check_device,
                rich_help_panel=_COMMON,
            ),
        ],
        "auto",
    ),
    "seed": (
        Annotated[
            int | None,
            typer.Option("--seed", min=0, help="Instead of the profile's seed.", rich_help_panel=_COMMON),
        ],
        None,
    ),
    "dry_run": (
        Annotated[
            bool,
            typer.Option("--dry-run", help="Say what would be done; write nothing.", rich_help_panel=_COMMON),
        ],
        False,
    ),
    "json": (
        Annotated[
            bool,
            typer.Option(
                "--json", help="Results as JSON on stdout, errors as JSON on stderr.", rich_help_panel=_COMMON
            ),
        ],
        False,
    ),
    "quiet": (
        Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings.", rich_help_panel=_COMMON)],
        False,
    ),
    "debug": (
        Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_COMMON)],
        False,
    ),
}

LISTING = ("json", "quiet", "debug")
COMPUTING = ("device", "seed", "dry_run", *LISTING)


def accepts(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command ``f(options, ...)`` so that the shared options ``names`` become its ``options``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _PARAMETERS.items()
            if name in names
        ]

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            chosen = {name: values.pop(name) for name in names}
            if "overrides" in chosen:
                chosen["overrides"] = tuple(chosen["overrides"] or ())
            _refuse_empty(chosen)
            given = CommonOptions(**chosen)
            try:
                with _silenced() if given.quiet else nullcontext():
                    command(options=given, **values)
            except KeyboardInterrupt as error:
                # Here, because the parser would swallow it.
                raise describe_interrupt(error, command.__name__.replace("_", "-")) from error

        # The help keeps line breaks, which are those of the source.
        wrapper.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


def _refuse_empty(chosen: Mapping[str, Any]) -> None:
    empty = [name for name, value in chosen.items() if value == ""]
    if empty:
        raise UsageError(f"--{empty[0]} is empty", hint="give it a value, or leave it out")


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the warnings that the package logs to itself for as long."""
    import logging

    logger = logging.getLogger("geotrap_cli")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def refuse_profile_on_resume(options: CommonOptions) -> None:
    """A resumed run goes on with its own profile.

    Raises:
        UsageError: ``--resume`` came with an option that would change the profile.
    """
    changing = {"--profile": options.profile, "--set": options.overrides, "--seed": options.seed is not None}
    stated = [name for name, value in changing.items() if value]
    if options.resume and stated:
        raise UsageError(
            f"--resume continues with the run's own profile, so {', '.join(stated)} cannot act",
            hint="leave it out, or start a new run without --resume",
        )
