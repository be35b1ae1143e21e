"""``geotrap view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import make_console, show, warn
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap view",
    "geotrap view runs/20260101T121500Z-attack-pos_opacity",
    "geotrap view --port 8080 --no-open",
    "geotrap view --dry-run",
    next_step="geotrap compare for the numbers, or geotrap export for files of one object",
)


@accepts("runs", "dry_run", *LISTING)
def view(
    options: CommonOptions,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The attack run; none: the latest.")] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; others than 127.0.0.1 let others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free one.")] = 0,
    open: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    r"""Objects under attack as splats in the browser: the truth, undefended and defended side by side, step by step.

    Prints the address of a page on this machine and serves it until Ctrl-C, which ends it with exit code 0. Needs
    `pip install 'geotrap\[view]'`.
    """
    from geotrap_cli.viewer.request import ViewRequest

    request = ViewRequest(run, host, port, open)
    if not request.is_local:
        warn(options, f"listening on {host}: whoever reaches this machine can see the page, and nothing is encrypted")
    from geotrap_cli.viewer.run import run_view

    result = run_view(options, request, make_console(stderr=True))
    show(options, result)
    result.wait()
