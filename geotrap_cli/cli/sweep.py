"""``geotrap sweep``."""

from __future__ import annotations

from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions, split_names

EPILOG = epilog(
    "geotrap sweep --traps position scale opacity rotation color --size 2 --dry-run",
    "geotrap sweep --traps position opacity --size 2 --set train.steps=60",
    "geotrap sweep --size 3 --no-singles",
    "geotrap sweep --resume",
    next_step="geotrap train --set with the traps that held best",
)

_GRID = "Grid"


@accepts("profile", "overrides", "runs", "resume", *COMPUTING)
def sweep(
    options: CommonOptions,
    traps: Annotated[
        list[str] | None,
        typer.Option(
            "--traps", metavar="KEY...", help="Traps to combine; none: the five attributes.", rich_help_panel=_GRID
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Traps of a combination [2].", rich_help_panel=_GRID)
    ] = None,
    singles: Annotated[
        bool | None,
        typer.Option(
            "--singles/--no-singles", help="Also run each trap alone, for the coupling gain.", rich_help_panel=_GRID
        ),
    ] = None,
) -> None:
    """Train, attack and rank every combination of traps, over one base profile.

    The base profile keeps everything but its traps. A sweep that was stopped goes on with --resume: finished
    combinations are not run again.
    """
    refuse_profile_on_resume(options)
    keys = split_names(traps or ())
    if options.resume and (keys or size is not None or singles is not None):
        raise UsageError("--resume continues with the sweep's own grid", hint="leave out --traps, --size and --singles")
    loaded = options.load_profile("sweep")
    from geotrap_cli.sweep.run import run_sweep

    alone = singles is not False
    show(options, run_sweep(options, loaded, make_console(stderr=True), traps=keys, size=size or 2, singles=alone))
