"""``geotrap data check | render``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from geotrap_cli.cli.examples import HELP, epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap data check renders/",
    "geotrap data check omniobject3d/ --format omniobject3d_100 --option without_alpha=black",
    "geotrap data render meshes/ --out renders",
    next_step="geotrap train --set data.kind=blender --set data.root=renders --set data.target=NAME",
)

app = typer.Typer(
    help="Check data sets and make them from meshes.", epilog=EPILOG, no_args_is_help=True, context_settings=HELP
)


@app.command("check", epilog=EPILOG, context_settings=HELP)
@accepts(*LISTING)
def check(
    options: CommonOptions,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder, .tar or .zip of the data set.")],
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="KEY", help="Its reader (`geotrap plugins`); none: told by the layout."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Option of the reader; repeatable."),
    ] = None,
    sheet: Annotated[
        Path, typer.Option("--sheet", metavar="FILE", help="Contact sheet (PNG) with the world's axes.")
    ] = Path("data-check.png"),
    rows: Annotated[int, typer.Option("--rows", min=0, max=200, help="Objects on the sheet; 0: no sheet.")] = 8,
) -> None:
    """Check rotations, optical axes and silhouettes of every object, and draw some of them.

    Exit code 2 if anything is wrong; each object at fault is told with the file. On the sheet, y (green) must point up
    in the world of the object, and the axes must turn with it from view to view.
    """
    from geotrap_cli.data.check import run_check

    console = make_console(stderr=True)
    drawn = sheet if rows else None
    show(options, run_check(path, format, _reader_options(option or ()), drawn, rows, console, options.quiet))


@app.command("render", epilog=EPILOG, context_settings=HELP)
@accepts("dry_run", *LISTING)
def render(
    options: CommonOptions,
    meshes: Annotated[
        list[Path], typer.Argument(metavar="MESH", help="GLB, glTF, OBJ, PLY or STL files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the views go.")],
    size: Annotated[int, typer.Option("--size", min=16, max=2048, help="Side of the pictures (pixels).")] = 256,
    category: Annotated[
        str | None, typer.Option("--category", metavar="NAME", help="Category of all; none: that of their folders.")
    ] = None,
    up: Annotated[
        str, typer.Option("--up", metavar="auto|y|z", help="Up axis; auto: y of GLB, glTF, OBJ, z of PLY, STL.")
    ] = "auto",
    workers: Annotated[int, typer.Option("--workers", min=0, max=256, help="Processes; 0: one a core.")] = 0,
) -> None:
    """Turn meshes into posed RGBA views that the data set `blender` reads.

    24 views on three rings around each object, as the built-in data set has them, lit alike; colours of vertices, faces
    and textures are kept. What is there and made from the same mesh stays: interrupt and call again as you like.
    """
    from geotrap_cli.data.mesh_files import find_meshes
    from geotrap_cli.data.mesh_views import MeshViews
    from geotrap_cli.data.rendering import plan_render, run_render

    if up not in ("auto", "y", "z"):
        raise UsageError(f"--up {up!r} is no axis", hint="use auto, y or z")
    views = MeshViews(out, size, cast(Literal["auto", "y", "z"], up))
    found = find_meshes(meshes, category)
    if options.dry_run:
        show(options, plan_render(views, found))
        return
    show(options, run_render(views, found, workers or None, make_console(stderr=True), options.quiet))


def _reader_options(stated: list[str] | tuple[()]) -> dict[str, Any]:
    from geotrap_cli.profile.layers import parse_value

    pairs = [text.partition("=") for text in stated]
    for text, (key, equals, _) in zip(stated, pairs, strict=True):
        if not equals or not key.strip():
            raise UsageError(f"--option {text!r} has no key and value", hint="write it as --option cache_mib=256")
    return {key.strip(): parse_value(value.strip()) for key, _, value in pairs}
