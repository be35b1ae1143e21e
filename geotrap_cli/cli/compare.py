"""``geotrap compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap compare",
    "geotrap compare --run runs/20260101T121500Z-attack-pos_opacity --csv table.csv",
    'geotrap compare --gate "worst_recovery<=0.5" --gate "source_change_db>=-1" --require-valid',
    "geotrap compare --store runs --store other_machine/results.jsonl",
    "geotrap compare --details",
    "geotrap compare --json > verdict.json",
    next_step="open report.html in a browser, then try a stronger attack: geotrap attack --full",
)


@accepts("runs", "seed", "dry_run", *LISTING)
def compare(
    options: CommonOptions,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", metavar="PATH", help="An attack run instead of the latest; repeatable.", rich_help_panel="Runs"
        ),
    ] = None,
    store: Annotated[
        list[Path] | None,
        typer.Option(
            "--store",
            metavar="PATH",
            help="Take the cells from a results.jsonl, or a folder of runs; repeatable.",
            rich_help_panel="Runs",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the table as CSV.")] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", metavar="CONDITION", help="Exit with 3 unless this holds; repeatable."),
    ] = None,
    require_valid: Annotated[
        bool, typer.Option("--require-valid", help="Exit with 4 unless the verdict is VALID.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Print every table: all attacks, costs and health.")
    ] = False,
) -> None:
    """Ratio tables, recovery curves and the verdict of an attack run.

    Works on the latest finished run of `geotrap attack`, and takes trials that it lacks from other runs on the same
    weights. Several --run, or --store, join the measurements of several machines. "Not measured" is never shown as
    "safe", and a gate on it fails. --seed is that of the bootstrap.
    """
    if details and (options.json or options.dry_run):
        other = "--json" if options.json else "--dry-run"
        raise UsageError(f"--details prints tables, and {other} prints none", hint=f"leave out --details or {other}")
    from geotrap_cli.reports.compare import run_compare
    from geotrap_cli.reports.request import CompareRequest

    request = CompareRequest(tuple(run or ()), tuple(store or ()), csv, tuple(gate or ()), require_valid, details)
    show(options, run_compare(options, make_console(stderr=True), request))
