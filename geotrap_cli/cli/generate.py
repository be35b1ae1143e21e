"""``geotrap generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap generate front.png right.png back.png left.png",
    "geotrap generate front.png right.png back.png left.png --weights ashawkey/LGM --preset big",
    "geotrap generate chair.png --weights splatter-image",
    "geotrap generate --prompt 'a red chair' --multiview mvdream-diffusers --weights lgm-big",
    next_step="open the GIF in a browser and the PLY in a splat viewer",
)


@accepts("device", "dry_run", *LISTING)
def generate(
    options: CommonOptions,
    views: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VIEW", help="Pictures on white or with alpha: front, right, back, left, or one."),
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="WEIGHTS", help="As model.weights of a profile.")
    ] = "shipped",
    family: Annotated[str, typer.Option("--family", metavar="KEY", help="As model.family.")] = "lgm",
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="As model.preset.")] = "nano",
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="A text in place of pictures.")] = "",
    multiview: Annotated[
        str | None,
        typer.Option(
            "--multiview", metavar="FOLDER|ID", help="Diffusion pipeline that makes the views of one picture."
        ),
    ] = None,
    elevation: Annotated[
        float, typer.Option("--elevation", min=-89, max=89, help="Degrees of the pictures' cameras above the object.")
    ] = 0.0,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write.")] = Path("generated"),
) -> None:
    """Gaussians (PLY) and a turntable (GIF) of one object, from pictures or a prompt.

    A generator of four views takes four pictures, at azimuths 0, 90, 180 and 270 degrees; from one picture or a prompt
    it needs --multiview.
    """
    from geotrap_cli.models.loading import WeightsSource
    from geotrap_cli.training.generate import GenerateRequest, run_generate

    source = WeightsSource(weights, preset, family)
    request = GenerateRequest(tuple(views or ()), source, prompt, multiview, elevation, out)
    show(options, run_generate(options, request))
