"""A run of a grid by the name of its profile: the finished one, else the one that was interrupted, else a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rich.console import Console

from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.runs import list_runs, open_run


class _MadeRun(Protocol):
    @property
    def run(self) -> Path: ...


RunCommand = Callable[[CommonOptions, LoadedProfile, Console], _MadeRun]


def runs_named(root: Path, command: str, name: str) -> list[RunFolder]:
    """Return the runs of ``command`` whose profile has that name, but for one that is being written, newest first."""
    runs = [run for run in list_runs(root) if (run.command, run.profile_name) == (command, name)]
    return [run for run in runs if run.status != "running"]


def finish_run(
    command: str, run_command: RunCommand, options: CommonOptions, profile: LoadedProfile, console: Console
) -> RunFolder:
    """Return the finished run of ``command`` with the name of ``profile``; go on with one that ended early, or begin.

    Args:
        command: Its name.
        run_command: What begins or continues such a run.
        options: What it is given; ``run`` is what a new one works on.
        profile: Its profile. One name has to stand for one profile in the folder of all runs.
        console: Where progress is shown.
    """
    earlier = runs_named(options.runs_root, command, profile.name)
    for run in earlier:
        if run.status == "finished":
            return run
    return continue_run(run_command, earlier, options, profile, console)


def continue_run(
    run_command: RunCommand,
    unfinished: list[RunFolder],
    options: CommonOptions,
    profile: LoadedProfile,
    console: Console,
) -> RunFolder:
    """Go on with the newest of ``unfinished``, or begin a new run where there is none; return it."""
    # A run that ended before its first checkpoint is continued too: it then starts over.
    resume = str(unfinished[0].path) if unfinished else None
    options = dataclasses.replace(options, resume=resume, run=options.run if resume is None else None)
    return open_run(run_command(options, profile, console).run)
