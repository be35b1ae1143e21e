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
    "geotrap analyze-layers --mode jacobian --sort scales",
    "geotrap analyze-layers --select 12 --lora-safe",
    next_step="geotrap train --set layers.units=UNIT,UNIT",
)

_ANALYSIS = "Analysis"


class Mode(str, Enum):
    """What is differentiated."""

    trap = "trap"
    attack = "attack"
    jacobian = "jacobian"


@accepts("profile", "overrides", "runs", "run", *COMPUTING)
def analyze_layers(
    options: CommonOptions,
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode", help="The traps' losses, the attacker's, or the Gaussians themselves.", rich_help_panel=_ANALYSIS
        ),
    ] = Mode.trap,
    traps: Annotated[
        list[str] | None,
        typer.Option(
            "--traps", metavar="KEY...", help="Traps to measure; none: the profile's.", rich_help_panel=_ANALYSIS
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Objects of each side [16].", rich_help_panel=_ANALYSIS)
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="geometric_mean (default), unit (order of the network), or a trap.",
            rich_help_panel=_ANALYSIS,
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Show so many units; none: all.", rich_help_panel=_ANALYSIS)
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option("--probes", min=1, help="Random vectors of --mode jacobian [4].", rich_help_panel=_ANALYSIS),
    ] = None,
    select: Annotated[
        int | None,
        typer.Option(
            "--select",
            metavar="N",
            min=1,
            help="Write the N first units to layers.toml, for a profile to extend.",
            rich_help_panel=_ANALYSIS,
        ),
    ] = None,
    lora_safe: Annotated[
        bool,
        typer.Option(
            "--lora-safe", help="Select only units that the LoRA adapter does not reach.", rich_help_panel=_ANALYSIS
        ),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write the table as CSV.", rich_help_panel=_ANALYSIS),
    ] = None,
) -> None:
    """Which layers tell target objects from source objects, and so where a trap belongs.

    Gradient norm of each unit on target objects divided by that on source objects, with a bootstrap interval. Works on
    the undefended weights, unless --run names a run of `geotrap train`.
    """
    keys = tuple(dict.fromkeys(key.strip() for word in traps or () for key in word.split(",") if key.strip()))
    _refuse_idle("--traps", bool(keys) and mode is not Mode.trap, "--mode trap")
    _refuse_idle("--probes", probes is not None and mode is not Mode.jacobian, "--mode jacobian")
    _refuse_idle("--lora-safe", lora_safe and select is None, "--select N")
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
        select=select,
        lora_safe=lora_safe,
        probes=probes,
    )
    show(options, result)


def _refuse_idle(option: str, idle: bool, needed: str) -> None:
    if idle:
        raise UsageError(f"{option} acts only with {needed}", hint=f"leave it out, or add {needed}")
