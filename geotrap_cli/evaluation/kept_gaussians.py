"""The Gaussians that an attack keeps of a few objects at every evaluation, so that they can be looked at afterwards.

One safetensors file a cell, ``gaussians/<method>-<subject>.safetensors`` in the run folder: for each object one of the
pictures it was measured on with its camera, and for each step what the weights made of the object. Values are those
after activation, in half precision; Gaussians that no picture can show are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from geotrap_cli.atomic import atomic_path
from geotrap_cli.cameras import Cameras
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.evaluate import ObjectRenders
from geotrap_cli.gaussians import CHANNELS, NUM_CHANNELS
from geotrap_cli.render.base import MIN_ALPHA
from geotrap_cli.tensor_files import read_tensors, write_tensors

GAUSSIANS = "gaussians"
_PICTURE, _VIEWMAT, _INTRINSICS = "picture", "viewmat", "K"
_SHOWN_VIEW = 0


class KeptGaussians:
    """What one cell kept, by object and step.

    Attributes:
        tensors: ``<object>@<step>`` float16 or float32 [n, 14], and of each object ``@picture`` uint8 [H, W, 3],
            ``@viewmat`` [4, 4] and ``@K`` [3, 3].
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        self.tensors = dict(tensors or {})

    @property
    def objects(self) -> list[str]:
        """The objects, in the order of their names."""
        return sorted({key.rpartition("@")[0] for key in self.tensors})

    def steps(self, name: str) -> list[int]:
        """Return the steps at which an object was kept, ascending; none for an unknown one."""
        parts = (key.rpartition("@") for key in self.tensors)
        return sorted(int(step) for object, _, step in parts if object == name and step.isdigit())

    def gaussians(self, name: str, step: int) -> Tensor | None:
        """Return activated Gaussians, float32 [n, 14]; None where none were kept."""
        found = self.tensors.get(f"{name}@{step}")
        return None if found is None else found.float()

    def picture(self, name: str) -> tuple[Tensor, Cameras]:
        """Return the ground truth, uint8 [H, W, 3], and the one camera it is seen by."""
        picture = self.tensors[f"{name}@{_PICTURE}"]
        viewmat, K = self.tensors[f"{name}@{_VIEWMAT}"], self.tensors[f"{name}@{_INTRINSICS}"]
        return picture, Cameras(viewmat[None], K[None], picture.shape[1], picture.shape[0])

    def add(self, name: str, step: int, renders: ObjectRenders) -> None:
        """Keep one object after ``step`` steps."""
        picture = renders.gt_rgb[_SHOWN_VIEW].clamp(0, 1)
        self.tensors |= {
            f"{name}@{step}": _compact(renders.gaussians),
            f"{name}@{_PICTURE}": (picture * 255).round().to(torch.uint8),
            f"{name}@{_VIEWMAT}": renders.cameras.viewmats[_SHOWN_VIEW].float(),
            f"{name}@{_INTRINSICS}": renders.cameras.Ks[_SHOWN_VIEW].float(),
        }

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        with atomic_path(path) as temporary:
            write_tensors(temporary, self.tensors)


def kept_file(run: Path, method: str, subject: str) -> Path:
    """Return where a run has the Gaussians of one cell."""
    return run / GAUSSIANS / f"{method}-{subject}.safetensors"


def read_kept(path: Path) -> KeptGaussians | None:
    """Return what a cell kept; None where it kept nothing, as runs of earlier versions.

    Raises:
        UsageError: The file is damaged.
    """
    if not path.is_file():
        return None
    kept = KeptGaussians(read_tensors(path))
    problem = next(filter(None, (_problem(kept, name) for name in kept.objects)), None)
    if problem:
        raise UsageError(f"{path} is damaged: {problem}", hint="remove it: both ends of the attack can be made anew")
    return kept


def _problem(kept: KeptGaussians, name: str) -> str | None:
    if any(f"{name}@{part}" not in kept.tensors for part in (_PICTURE, _VIEWMAT, _INTRINSICS)):
        return f"{name} has no picture or no camera"
    for step in kept.steps(name):
        found = kept.tensors[f"{name}@{step}"]
        if found.ndim != 2 or found.shape[1] != NUM_CHANNELS or not bool(found.isfinite().all()):
            return f"{name} has no finite Gaussians at step {step}"
    return None


def _compact(gaussians: Tensor) -> Tensor:
    """Return the Gaussians ``[n, 14]`` that the rasteriser would draw, in half precision where that holds them."""
    drawn = gaussians[gaussians[:, CHANNELS["opacities"]][:, 0] >= MIN_ALPHA]
    half = drawn.half()
    return half if bool(half.isfinite().all()) else drawn.float()
