"""Which pictures a cell keeps: whole ones before and after the attack, small ones of a view along the way."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from geotrap_cli.atomic import atomic_path
from geotrap_cli.tensor_files import write_tensors

#: Objects whose pictures are kept.
KEPT_OBJECTS = 6
#: Largest side of a picture from along the way, pixels.
SMALL_SIDE = 128
_EARLY_SHARE = 10


def picture_steps(steps: int) -> frozenset[int]:
    """Return the steps that are shown though they are not measured: a tenth of the attack, where that is a step."""
    return frozenset({steps // _EARLY_SHARE} - {0})


def small_view(images: torch.Tensor) -> torch.Tensor:
    """Return the first of the views ``[V, H, W, 3]`` as ``[1, h, w, 3]``, no side longer than ``SMALL_SIDE``."""
    view = images[:1]
    longest = max(view.shape[1:3])
    if longest <= SMALL_SIDE:
        return view
    height, width = (max(1, round(side * SMALL_SIDE / longest)) for side in view.shape[1:3])
    return F.interpolate(view.permute(0, 3, 1, 2), (height, width), mode="area").permute(0, 2, 3, 1)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Return images with values in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()


def save_pictures(pictures: dict[str, torch.Tensor], path: Path) -> None:
    """Write uint8 pictures by name, atomically."""
    with atomic_path(path) as temporary:
        write_tensors(temporary, pictures)
