"""``geotrap generate``: pictures or a prompt to a PLY file and a turntable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from geotrap_cli.errors import UsageError
from geotrap_cli.models.loading import WeightsSource
from geotrap_cli.options import CommonOptions
from geotrap_cli.ply import save_ply
from geotrap_cli.training.precision import pick_device
from geotrap_cli.turntable import save_gif, turntable

if TYPE_CHECKING:
    from rich.console import Console

FRAMES, SIZE, ELEVATION = 36, 256, 20.0
"""Of the turntable: pictures, their side in pixels, degrees above the object."""


@dataclass(frozen=True)
class GenerateRequest:
    """What is generated.

    Attributes:
        views: Files of pictures.
        weights: The generator.
        prompt: A text in place of pictures; empty: none.
        multiview: Folder or hub id of a diffusion pipeline that makes the views.
        elevation: Degrees of the pictures' cameras above the object's equator.
        out: Folder to write to.
    """

    views: tuple[Path, ...]
    weights: WeightsSource
    prompt: str
    multiview: str | None
    elevation: float
    out: Path


@dataclass(frozen=True)
class Generated:
    """Where the results are, or with ``--dry-run`` would be."""

    files: dict[str, Path]
    gaussians: int
    written: bool

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        files = {kind: str(path) for kind, path in self.files.items()}
        return {"files": files, "gaussians": self.gaussians, "written": self.written}

    def render(self, console: Console) -> None:
        """Print what is where."""
        for kind, path in self.files.items():
            console.print(f"{kind}: {path if self.written else f'would be {path}'}", soft_wrap=True)


def run_generate(options: CommonOptions, request: GenerateRequest) -> Generated:
    """Generate one object.

    Raises:
        UsageError: A picture cannot be read, their number is wrong, or there is no multi-view pipeline for one picture.
        NonFiniteError: The generator gives NaN or infinity.
    """
    from geotrap_cli.models.pipeline import LGMPipeline, load_multiview

    pictures = [_read(path) for path in request.views]
    model = request.weights.load(pick_device(options.device))
    _check(request, model.num_views)
    stem = request.views[0].stem if request.views else "prompt"
    files = {kind: request.out / f"{stem}.{kind}" for kind in ("ply", "gif")}
    if options.dry_run:
        return Generated(files, model.num_gaussians, written=False)
    pipeline = LGMPipeline(model, load_multiview(request.multiview) if request.multiview else None)
    several = len(pictures) > 1
    given: dict[str, Any] = {"views": pictures} if several else {"image": next(iter(pictures), None)}
    gaussians = pipeline(**given, prompt=request.prompt, elevation_deg=request.elevation).gaussians
    request.out.mkdir(parents=True, exist_ok=True)
    save_ply(files["ply"], gaussians)
    save_gif(turntable(gaussians, FRAMES, SIZE, ELEVATION), files["gif"])
    return Generated(files, gaussians.num_gaussians, written=True)


def _check(request: GenerateRequest, num_views: int) -> None:
    """Refuse a multi-view pipeline that would not act."""
    direct = len(request.views) > 1 or (len(request.views) == num_views == 1 and not request.prompt)
    if direct and request.multiview:
        raise UsageError("--multiview cannot act: the views are given", hint="Leave it out, or give one picture")


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.copy()
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"{path} is no picture that can be read", hint="Name PNG, JPEG or WebP files.") from error
