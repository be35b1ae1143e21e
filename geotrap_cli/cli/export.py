"""``geotrap export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap export",
    "geotrap export lora",
    "geotrap export lora --model undefended --format mp4",
    "geotrap export full --run runs/20260101T121500Z-attack-pos_opacity --object knife/knife_0021 --format ply",
    next_step="open the GIF in a browser and the PLY in a splat viewer",
)


@accepts("runs", "run", "device", "dry_run", *LISTING)
def export(
    options: CommonOptions,
    attack: Annotated[
        str | None, typer.Argument(metavar="ATTACK", help="The weights after this attack; none: before any.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="defended|undefended", help="Whose weights, or attacked from which.")
    ] = "defended",
    object: Annotated[
        str | None,
        typer.Option("--object", metavar="ID", help="An object of the data set; none: the first held-out target."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="gif|mp4|ply", help="What to write; repeatable; none: gif and ply."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write.")] = Path("exports"),
    frames: Annotated[int | None, typer.Option("--frames", min=2, help="Pictures of the turntable [36].")] = None,
    size: Annotated[int | None, typer.Option("--size", min=16, help="Their side, pixels, even [256].")] = None,
    elevation: Annotated[
        float | None, typer.Option("--elevation", min=-89, max=89, help="Degrees of the camera above the object [20].")
    ] = None,
) -> None:
    r"""Turntable and Gaussians (PLY) of one object, by any weights of a run.

    Without an attack: the weights of the latest finished run of `geotrap train`. With one: what it left in the latest
    finished run of `geotrap attack`, a whole model or an adapter. MP4 needs `pip install 'geotrap\[video]'`.
    """
    from geotrap_cli.export_request import FORMATS, ExportRequest
    from geotrap_cli.options import split_names
    from geotrap_cli.plugins import suggestion

    formats = split_names(format or ()) or ("gif", "ply")
    words = [("--model", model, ("defended", "undefended")), *(("--format", name, FORMATS) for name in formats)]
    for option, word, known in words:
        if word not in known:
            raise UsageError(f"{option} {word!r} is unknown", hint=suggestion(word, known))
    given = {"frames": frames, "size": size, "elevation": elevation}
    stated: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if formats == ("ply",) and stated:
        idle = ", ".join(f"--{name}" for name in stated)
        raise UsageError(f"{idle} cannot act on a PLY file", hint="add --format gif, or leave it out")
    if size is not None and size % 2:
        raise UsageError(f"--size {size} is odd", hint="videos need even sides")
    request = ExportRequest(attack, model, object, formats, out, **stated)
    from geotrap_cli.training.export import run_export

    show(options, run_export(options, request, make_console(stderr=True)))
