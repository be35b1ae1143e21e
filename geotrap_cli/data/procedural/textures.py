"""Solid textures: two colours mixed by a pattern that is a function of the point in the part's own space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Colour = tuple[float, float, float]
Pattern = Callable[[Floats, float, int], Floats]


@dataclass(frozen=True)
class Material:
    """How a part is coloured.

    Attributes:
        colour: First colour, RGB in 0..1.
        second: Second colour of a pattern; ignored when the pattern is "solid".
        pattern: Key of :data:`PATTERNS`, or "solid".
        scale: Cycles of the pattern in one unit of length.
        axis: Axis (0 x, 1 y, 2 z) the pattern varies along, or turns around.

    """

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: str = "solid"
    scale: float = 4.0
    axis: int = 2

    def at(self, points: Floats) -> Floats:
        """Colours [n, 3] at ``points`` [n, 3] of the part's own space."""
        first = np.asarray(self.colour, dtype=np.float32)
        if self.pattern == "solid":
            return np.broadcast_to(first, points.shape)
        weight = PATTERNS[self.pattern](points, self.scale, self.axis).astype(np.float32)[:, None]
        return first + weight * (np.asarray(self.second, dtype=np.float32) - first)


def _wave(values: Floats) -> Floats:
    return 0.5 + 0.5 * np.sin(2.0 * np.pi * values)


def _fraction(values: Floats) -> Floats:
    return values - np.floor(values)


def _others(axis: int) -> tuple[int, int]:
    return (axis + 1) % 3, (axis + 2) % 3


def checker(points: Floats, scale: float, axis: int) -> Floats:
    """Cubes of alternating colour; ``axis`` plays no part."""
    del axis
    # The small shift keeps faces that lie exactly on a cell border from flickering between both colours.
    return (np.floor(points * scale + 1e-3).sum(axis=1) % 2.0).astype(points.dtype)


def stripes(points: Floats, scale: float, axis: int) -> Floats:
    """Slabs of alternating colour along ``axis``, half a cycle each."""
    return (_fraction(points[:, axis] * scale + 1e-3) < 0.5).astype(points.dtype)


def gradient(points: Floats, scale: float, axis: int) -> Floats:
    """A smooth wave along ``axis``."""
    return _wave(points[:, axis] * scale - 0.25)


def noise(points: Floats, scale: float, axis: int) -> Floats:
    """Marble: a wave bent by slower waves of the other coordinates."""
    a, b = _others(axis)
    bend = 0.35 * np.sin(5.1 * scale * points[:, a] + 1.3) + 0.35 * np.sin(4.3 * scale * points[:, b])
    return _wave(points[:, axis] * scale + bend)


def rings(points: Floats, scale: float, axis: int) -> Floats:
    """Year rings of wood around ``axis``, slightly off the middle, as in a sawn board."""
    a, b = _others(axis)
    wobble = 0.03 * np.sin(7.0 * points[:, axis])
    radius = np.hypot(points[:, a] - 0.21 + wobble, 1.6 * points[:, b] + 0.13)
    return _fraction(radius * scale) ** 2


def spots(points: Floats, scale: float, axis: int) -> Floats:
    """Round spots on a staggered grid; ``axis`` plays no part."""
    del axis
    cells = points * scale
    cells = cells + 0.5 * np.stack([np.zeros(len(cells)), np.floor(cells[:, 0]), np.floor(cells[:, 1])], axis=1)
    distance = np.linalg.norm(_fraction(cells) - 0.5, axis=1)
    return (distance < 0.38).astype(points.dtype)


def bands(points: Floats, scale: float, axis: int) -> Floats:
    """Two tones: the second colour above a quarter of a cycle along ``axis``."""
    return (points[:, axis] * scale > 0.25).astype(points.dtype)


PATTERNS: dict[str, Pattern] = {
    "checker": checker,
    "stripes": stripes,
    "gradient": gradient,
    "noise": noise,
    "rings": rings,
    "spots": spots,
    "bands": bands,
}
