"""``geotrap analyze-layers``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap analyze-layers --mode trap",
    "geotrap analyze-layers --traps position scale --top 12",
    "geotrap analyze-layers --mode attack --samples 20 --csv layers.csv",
    next_step="geotrap train --set layers.units=UNIT,UNIT",
)

_ANALYSIS = "Analysis"


class Mode(str, Enum):
    """Whose loss is measured."""

    trap = "trap"
    attack = "attack"


@accepts("profile", "overrides", "runs", "run", *COMPUTING)
def analyze_layers(
    options: CommonOptions,
    mode: Annotated[
        Mode, typer.Option("--mode", help="The traps' losses, or the attacker's.", rich_help_panel=_ANALYSIS)
    ] = Mode.trap,
    traps: Annotated[
        list[str] | None,
        typer.Option(
            "--traps", metavar="KEY...", help="Traps to measure; none: the profile's.", rich_help_panel=_ANALYSIS
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Objects of each side.", rich_help_panel=_ANALYSIS)
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help="Order of the table.", rich_help_panel=_ANALYSIS)
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Show so many units; none: all.", rich_help_panel=_ANALYSIS)
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write the table as CSV.", rich_help_panel=_ANALYSIS),
    ] = None,
) -> None:
    """Which layers tell target objects from source objects, and so where a trap belongs.

    Gradient norm of each unit on target objects divided by that on source objects. Works on the undefended weights,
    unless --run names a run.
    """
    keys = tuple(dict.fromkeys(key.strip() for word in traps or () for key in word.split(",") if key.strip()))
    if mode is Mode.attack and keys:
        raise UsageError("--traps does not act with --mode attack", hint="leave it out, or use --mode trap")
    loaded = options.load_profile("analyze-layers")
    if options.dry_run:
        show(options, ResolvedProfile(loaded))
        return
    from geotrap_cli.sensitivity.analysis import run_analysis

    result = run_analysis(
        options,
        loaded,
        make_console(stderr=True),
        mode=mode.value,
        traps=keys,
        samples=samples,
        sort=sort,
        top=top,
        csv=csv,
    )
    show(options, result)
