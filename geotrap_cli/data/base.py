"""What a data set is to the rest of the program: named objects seen from known cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from geotrap_cli.cameras import Cameras


@dataclass(frozen=True)
class ObjectRecord:
    """One object of a data set.

    Args:
        id: unique name inside the data set, such as ``chair/oak_3``.
        group: what must stay on one side of a split (variants of one model); the id where nothing is known.
        category: the class that a defense may name as its target.
        views: number of stored views.
    """

    id: str
    group: str
    category: str
    views: int


@dataclass(frozen=True)
class PosedViews:
    """Views of one object.

    Args:
        rgba: ``[V, H, W, 4]`` float32 in [0, 1], straight (not premultiplied) alpha.
        cameras: their cameras, ``[V, 4, 4]``, in the data set's own y-up world, with the true intrinsics.
    """

    rgba: Tensor
    cameras: Cameras


@runtime_checkable
class ObjectDataset(Protocol):
    """A reader of posed views. It checks what it reads and names the file at fault; it never substitutes a sample."""

    @property
    def records(self) -> tuple[ObjectRecord, ...]:
        """Every object, in a fixed order."""
        ...

    def rings(self, id: str) -> list[list[int]]:
        """Groups of four view indices 90 degrees apart around the up axis, every starting view included."""
        ...

    def views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        """Return the views ``indices`` of object ``id`` at ``size`` x ``size`` pixels."""
        ...

    def fingerprint(self) -> str:
        """Hash of the data's content, equal exactly when the data are."""
        ...


@runtime_checkable
class SurfaceDataset(ObjectDataset, Protocol):
    """A data set that also knows the surface behind each pixel."""

    def surface_points(self, id: str, indices: Sequence[int], size: int) -> Tensor:
        """Points ``[V, size, size, 3]`` in the data set's world where pixel-centre rays first hit; NaN for a miss."""
        ...
