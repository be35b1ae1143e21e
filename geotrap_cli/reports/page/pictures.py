"""The pictures of the page as data URIs: what an attack recovers of a few objects, beside the ground truth."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.reports.attack_pictures import RENDERS, load_pictures
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.sheets import psnr_caption

OBJECTS, ATTACKS = 4, 6
SIDE = 128
"""Largest side of a picture, pixels."""
BUDGET = 6_000_000
"""Characters of all pictures; an attack that would go beyond it is left out, and the page says so."""
_VIEW = 0


@dataclass(frozen=True)
class Frame:
    """One picture: what it shows, its data URI, empty where it was not kept, and the object's foreground PSNR."""

    step: int
    uri: str
    caption: str


@dataclass(frozen=True)
class Strip:
    """One object: its truth, and the frames of each subject, one for each moment of the attack."""

    object: str
    truth: str
    frames: dict[str, list[Frame]]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one attack.

    Attributes:
        attack: Its label.
        steps: The steps at which pictures were kept, ascending.
        budget: Steps of the attack.
        strips: One for each object.
    """

    attack: str
    steps: list[int]
    budget: int
    strips: list[Strip]

    @property
    def size(self) -> int:
        """Characters of all its pictures."""
        frames = [frame.uri for strip in self.strips for side in strip.frames.values() for frame in side]
        return sum(map(len, [*frames, *(strip.truth for strip in self.strips)]))

    @property
    def glance(self) -> list[int]:
        """Indices of the steps nearest to 0, 10 and 100 % of the attack, each once."""
        wanted = (0.0, 0.1 * self.budget, float(self.budget))
        nearest = [min(range(len(self.steps)), key=lambda i: abs(self.steps[i] - step)) for step in wanted]
        return list(dict.fromkeys(nearest))

    def share(self, step: int) -> str:
        """Return a step as a share of the attack."""
        return f"{step / self.budget:.0%}" if self.budget else "0%"


def galleries(comparison: Comparison) -> tuple[list[Gallery], list[str]]:
    """Return the pictures of the attacks that recover most, and which attacks have none here and why, one line each.

    Raises:
        UsageError: Pictures cannot be read.
    """
    found: list[Gallery] = []
    missing: list[str] = []
    spent = 0
    for attack in comparison.attacks[:ATTACKS]:
        gallery = _gallery(attack)
        if gallery is None:
            missing.append(f"{attack.label}: its run kept no pictures, or is not on this machine")
        elif spent + gallery.size > BUDGET:
            missing.append(f"{attack.label}: left out, the page would grow too large")
        else:
            spent += gallery.size
            found.append(gallery)
    left = len(comparison.attacks) - ATTACKS
    return found, [
        *missing,
        *([f"{left} attacks that recover less: see the pictures in their runs"] if left > 0 else []),
    ]


def png_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _gallery(attack: JudgedAttack) -> Gallery | None:
    pair = attack.pair
    truth = load_pictures(pair.folder(DEFENDED) / RENDERS / "truth.safetensors")
    kept = {
        subject: load_pictures(pair.folder(subject) / RENDERS / f"{pair.method}-{subject}.safetensors")
        for subject in SUBJECTS
    }
    steps = sorted({int(name.rpartition("@")[2]) for pictures in kept.values() for name in pictures})
    if not (truth and steps):
        return None
    strips = [
        Strip(
            name, _uri(truth[name]), {subject: _frames(attack, subject, name, kept[subject], steps) for subject in kept}
        )
        for name in list(truth)[:OBJECTS]
    ]
    return Gallery(attack.label, steps, pair.defended.steps, strips)


def _frames(
    attack: JudgedAttack, subject: str, name: str, pictures: Mapping[str, Tensor], steps: Sequence[int]
) -> list[Frame]:
    def frame(step: int) -> Frame:
        views = pictures.get(f"{name}@{step}")
        scores = attack.pair.scores(subject, "target", step) or []
        psnr = next((psnr_caption(score.metrics[HEADLINE]) for score in scores if score.id == name), "not scored")
        return Frame(step, "" if views is None else _uri(views), psnr)

    return [frame(step) for step in steps]


def _uri(views: Tensor) -> str:
    """Return the first view as a small WebP."""
    from PIL import Image

    image = Image.fromarray(views[_VIEW].to(torch.uint8).contiguous().numpy())
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=88, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
