"""What the page shows at one moment: the truth and both sides of one attack, with their numbers in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geotrap_cli.cameras import invert_rigid
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.reports.sheets import psnr_caption
from geotrap_cli.viewer.sources import AttackGaussians
from geotrap_cli.viewer.splats import ENLARGED, Splats, to_splats

TRUTH = "ground truth"
COLUMNS = (TRUTH, UNDEFENDED, DEFENDED)
"""The labels of the columns from left to right."""


@dataclass(frozen=True)
class Picture:
    """The ground truth, and the camera it is seen by.

    Attributes:
        pixels: uint8 [H, W, 3].
        camera: Its centre [3], scene units.
        size: Width and height, scene units, of what it covers at the origin.
    """

    pixels: npt.NDArray[np.uint8]
    camera: npt.NDArray[np.float64]
    size: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One object after one number of attack steps.

    Attributes:
        picture: The truth.
        splats: Gaussians by subject; None where there are none.
        captions: Foreground PSNR of the object by subject, in words.
        text: What is shown, in Markdown.
    """

    picture: Picture
    splats: dict[str, Splats | None]
    captions: dict[str, str]
    text: str


def make_scene(shown: AttackGaussians, label: str, name: str, step: int) -> Scene:
    """Return what the attack called ``label`` makes of one of its objects by ``step``."""
    clouds = {subject: shown.kept[subject].gaussians(name, step) for subject in SUBJECTS}
    splats = {subject: None if cloud is None else to_splats(cloud) for subject, cloud in clouds.items()}
    captions = {subject: _caption(shown, subject, name, step) for subject in SUBJECTS}
    sides = {subject: _side(captions[subject], splats[subject]) for subject in SUBJECTS}
    return Scene(_picture(shown, name), splats, captions, _text(shown, label, name, step, sides))


def _caption(shown: AttackGaussians, subject: str, name: str, step: int) -> str:
    scores = shown.pair.scores(subject, shown.objects[name], step) or []
    found = [score.metrics[HEADLINE] for score in scores if score.id == name]
    return psnr_caption(found[0]) if found else "not scored"


def _picture(shown: AttackGaussians, name: str) -> Picture:
    kept = next(kept for kept in shown.kept.values() if name in kept.objects)
    pixels, cameras = kept.picture(name)
    camera = ENLARGED * invert_rigid(cameras.viewmats.double())[0, :3, 3].numpy()
    distance = float(np.linalg.norm(camera))
    focal = cameras.Ks[0].double().diagonal()[:2].numpy()
    width, height = (float(side) for side in distance * np.array([cameras.width, cameras.height]) / focal)
    return Picture(pixels.contiguous().numpy(), camera, (width, height))


def _text(shown: AttackGaussians, label: str, name: str, step: int, sides: Mapping[str, str]) -> str:
    moment = f"after {step} of {shown.pair.defended.steps} steps of {label}" if step else f"before {label}"
    title = f"**{shown.objects[name]} object** {name}, {moment}. Foreground PSNR of this object:"
    lines = "\n".join(f"- **{subject}**: {words}" for subject, words in sides.items())
    return "\n\n".join(filter(None, (title, lines, shown.note)))


def _side(caption: str, splats: Splats | None) -> str:
    return f"{caption}; no Gaussians at this step" if splats is None else f"{caption} ({len(splats):,} Gaussians)"
