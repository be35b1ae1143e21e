"""``geotrap compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap compare",
    "geotrap compare --run runs/20260101T121500Z-attack-pos_opacity --csv table.csv",
    "geotrap compare --json > verdict.json",
    next_step="open the pictures named at the end, then try a stronger attack: geotrap attack --full",
)


@accepts("runs", "run", "seed", "dry_run", *LISTING)
def compare(
    options: CommonOptions,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write the table as CSV.")] = None,
    require_valid: Annotated[
        bool, typer.Option("--require-valid", help="Exit with 4 unless the verdict is VALID.")
    ] = False,
) -> None:
    """Ratio tables, recovery curves and the verdict of an attack run.

    Works on the latest finished run of `geotrap attack`, unless --run names another, and takes attacks that it lacks
    from other runs on the same weights. "Not measured" is never shown as "safe". --seed is that of the bootstrap.
    """
    from geotrap_cli.reports.compare import run_compare

    show(options, run_compare(options, make_console(stderr=True), csv=csv, require_valid=require_valid))
