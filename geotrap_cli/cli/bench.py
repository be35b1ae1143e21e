"""``geotrap bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap bench benchmarks/bench/quick.toml --dry-run",
    "geotrap bench benchmarks/bench/quick.toml",
    "geotrap bench grid.toml --executor local --jobs 4",
    "geotrap bench grid.toml --executor ray",
    "geotrap bench grid.toml --store other_machine/results.jsonl",
    next_step="open leaderboard.html; geotrap compare --store runs/bench-quick tells more of the defense attacked last",
)

_WORK = "How to work"


@accepts("runs", "device", "dry_run", "json", "quiet", "debug")
def bench(
    options: CommonOptions,
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="TOML file with defenses, attacks, seeds and profiles.")],
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="process|local|ray",
            help="Here, in processes of this machine, or on a Ray cluster.",
            rich_help_panel=_WORK,
        ),
    ] = "process",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, help="Processes of --executor local [2].", rich_help_panel=_WORK),
    ] = None,
    store: Annotated[
        list[Path] | None,
        typer.Option(
            "--store",
            metavar="PATH",
            help="Take over the cells of a results.jsonl, or of a folder of runs; repeatable.",
            rich_help_panel=_WORK,
        ),
    ] = None,
) -> None:
    r"""Train every defense of a grid, attack each, and rank them by their worst attack.

    Runs, store and leaderboard lie in bench-GRID in the folder of all runs. The same command goes on where the last
    one ended: finished cells are not run again, and a kill at any time loses at most the running ones. What was not
    measured says so and ranks last. With \[tune] in the grid, each defense first gets the same number of trials, on
    objects that the leaderboard never reports.
    """
    from geotrap_cli.bench.request import EXECUTORS, BenchRequest

    if executor not in EXECUTORS:
        raise UsageError(f"--executor {executor!r} is unknown", hint=f"use {', '.join(EXECUTORS)}")
    if jobs is not None and executor != "local":
        raise UsageError(f"--jobs does not act with --executor {executor}", hint="add --executor local")
    slots = (jobs or 2) if executor == "local" else 1
    from geotrap_cli.bench.run import run_bench

    request = BenchRequest(grid, executor, slots, tuple(store or ()))
    show(options, run_bench(options, request, make_console(stderr=True)))
