"""From drawn view indices to the tensors that a generator and its losses take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras, first_view_frame, plucker_rays, points_to_first_view_frame
from geotrap_cli.data.base import ObjectDataset, PosedViews, SurfaceDataset
from geotrap_cli.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViewDraw:
    """Which views of an object go in, and which are rendered against."""

    id: str
    inputs: tuple[int, ...]
    supervised: tuple[int, ...]


@dataclass(frozen=True)
class ViewBatch:
    """``B`` objects with ``I`` input and ``S`` supervised views each, in the frame of each object's first input view.

    Args:
        images: ``[B, I, 9, h, w]`` generator input: RGB on white with ImageNet's mean and standard deviation, then
            the Plücker rays.
        rgb: ``[B, S, H, W, 3]`` ground truth on white, in [0, 1].
        alpha: ``[B, S, H, W]`` ground-truth coverage in [0, 1].
        cameras: supervised cameras, ``[B, S, 4, 4]`` and ``[B, S, 3, 3]``.
        ids: object ids, ``B``.
        input_rgb: ``[B, I, h, w, 3]`` input views on white, in [0, 1].
        input_alpha: ``[B, I, h, w]`` their coverage.
        input_cameras: cameras of the input views.
        surface_points: ``[B, I, s, s, 3]`` points behind the input views' pixels, NaN for a miss; None if not asked.
        surface_mask: ``[B, I, s, s]`` where a surface was hit.
    """

    images: Tensor
    rgb: Tensor
    alpha: Tensor
    cameras: Cameras
    ids: list[str]
    input_rgb: Tensor
    input_alpha: Tensor
    input_cameras: Cameras
    surface_points: Tensor | None = None
    surface_mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> ViewBatch:
        """Return the batch on ``device``; a GPU copies what is pinned while the processor goes on."""
        # The other way round nobody would wait for the copy before it is read.
        waits = torch.device(device).type == "cpu"
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Cameras)}
        moved |= {k: v.to(device, non_blocking=not waits) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def pin_memory(self) -> ViewBatch:
        """Return the batch with its pictures in pinned memory, which needs a GPU."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        pinned: dict[str, Any] = {k: v.pin_memory() for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **pinned)


def assemble(
    dataset: ObjectDataset,
    draws: Sequence[ViewDraw],
    input_size: int,
    output_size: int,
    surface_size: int | None = None,
) -> ViewBatch:
    """Read the drawn views and bring them into one frame an object.

    Args:
        dataset: where the views come from.
        draws: one an object, all with equally many views.
        input_size: side of the input images in pixels.
        output_size: side of the supervised images in pixels.
        surface_size: side of the surface maps, or None for no maps.

    Raises:
        UsageError: surface maps are asked of a data set that has none, or a file cannot be read.
    """
    inputs = [dataset.views(draw.id, draw.inputs, input_size) for draw in draws]
    supervised = [dataset.views(draw.id, draw.supervised, output_size) for draw in draws]
    input_cameras, cameras = _rebased(inputs, supervised)
    input_rgb, input_alpha = _on_white(inputs)
    rgb, alpha = _on_white(supervised)
    batch = ViewBatch(
        images=generator_input(input_rgb, input_cameras),
        rgb=rgb,
        alpha=alpha,
        cameras=cameras,
        ids=[draw.id for draw in draws],
        input_rgb=input_rgb,
        input_alpha=input_alpha,
        input_cameras=input_cameras,
    )
    if surface_size is None:
        return batch
    points = _surfaces(dataset, draws, inputs, surface_size)
    return replace(batch, surface_points=points, surface_mask=points.isfinite().all(dim=-1))


def generator_input(rgb: Tensor, cameras: Cameras) -> Tensor:
    """Stack normalised colours and Plücker rays, ``[..., V, H, W, 3]`` -> ``[..., V, 9, H, W]`` (LGM, section 3.2)."""
    normalised = (rgb - rgb.new_tensor(IMAGENET_MEAN)) / rgb.new_tensor(IMAGENET_STD)
    return torch.cat((normalised.movedim(-1, -3), plucker_rays(cameras)), dim=-3)


def _rebased(inputs: Sequence[PosedViews], supervised: Sequence[PosedViews]) -> tuple[Cameras, Cameras]:
    """Input and supervised cameras in the frame of each object's first input view, with one scale an object."""
    first, second = _stacked(inputs), _stacked(supervised)
    viewmats, _ = first_view_frame(torch.cat((first.viewmats, second.viewmats), dim=1))
    split = first.viewmats.shape[1]
    return replace(first, viewmats=viewmats[:, :split]), replace(second, viewmats=viewmats[:, split:])


def _stacked(views: Sequence[PosedViews]) -> Cameras:
    """Cameras of several objects along a leading dimension."""
    viewmats = torch.stack([item.cameras.viewmats for item in views])
    Ks = torch.stack([item.cameras.Ks for item in views])
    return Cameras(viewmats, Ks, views[0].cameras.width, views[0].cameras.height)


def _on_white(views: Sequence[PosedViews]) -> tuple[Tensor, Tensor]:
    """Colours composited on white, and alpha."""
    rgba = torch.stack([item.rgba for item in views])
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1 - alpha), alpha[..., 0]


def _surfaces(dataset: ObjectDataset, draws: Sequence[ViewDraw], inputs: Sequence[PosedViews], size: int) -> Tensor:
    """Surface points of the input views, ``[B, I, size, size, 3]``, moved and scaled like the cameras."""
    if not isinstance(dataset, SurfaceDataset):
        raise UsageError("this data set knows no surface points", hint="Use one that does, such as 'procedural'")
    maps = []
    for draw, views in zip(draws, inputs, strict=True):
        points = dataset.surface_points(draw.id, draw.inputs, size)
        maps.append(points_to_first_view_frame(points, views.cameras.viewmats[0]))
    return torch.stack(maps)
