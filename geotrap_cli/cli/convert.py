"""``geotrap convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap convert model_fp16_fixrot.safetensors lgm-big",
    "geotrap convert ashawkey/LGM lgm-big",
    "geotrap convert model_latest.pth splatter-image --family splatter_image",
    "geotrap convert runs/20261010T120000Z-train-pos_opacity/model defended.safetensors --half",
    next_step="geotrap train --set model.weights=lgm-big",
)


@accepts("dry_run", *LISTING)
def convert(
    options: CommonOptions,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A .safetensors or .pth file, a model folder, or a hub id.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="A new .safetensors file in the authors' layout, or a folder.")
    ],
    family: Annotated[str, typer.Option("--family", metavar="KEY", help="Generator of a published file.")] = "lgm",
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="Its size; none: that of the published weights.")
    ] = None,
    old_rotation: Annotated[
        bool, typer.Option("--old-rotation", help="The file is from before LGM's rotation fix (no _fixrot).")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Store float16.")] = False,
) -> None:
    """Turn published weights into a model folder, or a model folder into the authors' layout.

    The only command that opens generators in `.pth`; nothing inside is run. All others read them from safetensors.
    """
    from geotrap_cli.models.convert import convert as run
    from geotrap_cli.models.convert import published_preset
    from geotrap_cli.models.loading import WeightsSource

    weights = WeightsSource(source, preset or published_preset(family), family, old_rotation)
    show(options, run(weights, target, half, write=not options.dry_run))
