"""Random materials by what they stand for: wood, metal, cloth, leaves."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from geotrap_cli.data.procedural.textures import Colour, Material

Item = TypeVar("Item")

DARK = Material((0.13, 0.13, 0.15))
WHITE = Material((0.93, 0.92, 0.88))
BLACK_RUBBER = Material((0.17, 0.17, 0.18))


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of ``items``."""
    return items[int(rng.integers(len(items)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.uniform() < probability)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue in turns, saturation and value in 0..1."""
    return colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def shaded(material: Material, factor: float) -> Material:
    """A plain material in the first colour, darker (``factor`` < 1) or lighter."""
    red, green, blue = (min(channel * factor, 1.0) for channel in material.colour)
    return Material((red, green, blue))


def paint(rng: np.random.Generator) -> Material:
    """A plain saturated colour of any hue."""
    return Material(hsv(rng.uniform(), rng.uniform(0.45, 0.88), rng.uniform(0.6, 1.0)))


def pastel(rng: np.random.Generator) -> Material:
    """A plain light colour of any hue."""
    return Material(hsv(rng.uniform(), rng.uniform(0.1, 0.35), rng.uniform(0.75, 0.95)))


def decorated(rng: np.random.Generator, probability: float = 0.5, scale: float = 5.0) -> Material:
    """A saturated colour, often with a pattern in a second colour."""
    base = paint(rng)
    if not chance(rng, probability):
        return base
    second = WHITE.colour if chance(rng, 0.4) else paint(rng).colour
    pattern = pick(rng, ("checker", "stripes", "stripes", "gradient", "noise", "spots"))
    return Material(base.colour, second, pattern, scale * rng.uniform(0.7, 1.3), pick(rng, (0, 1, 2, 2)))


def wood(rng: np.random.Generator, axis: int = 2) -> Material:
    """Wood with year rings around ``axis``, or plain wood."""
    hue, saturation, value = rng.uniform(0.035, 0.095), rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.75)
    base, dark = hsv(hue, saturation, value), hsv(hue, saturation, value * rng.uniform(0.7, 0.85))
    if chance(rng, 0.4):
        return Material(base)
    return Material(base, dark, "rings", rng.uniform(7.0, 14.0), axis)


def metal(rng: np.random.Generator) -> Material:
    """Steel, iron, brass or copper."""
    tones = ((0.6, 0.04, 0.72), (0.6, 0.06, 0.42), (0.12, 0.55, 0.75), (0.05, 0.55, 0.68), (0.58, 0.12, 0.6))
    hue, saturation, value = pick(rng, tones)
    return Material(hsv(hue, saturation, value * rng.uniform(0.9, 1.1)))


def steel(rng: np.random.Generator) -> Material:
    """Light or dark grey metal."""
    return Material(hsv(0.6, rng.uniform(0.02, 0.12), rng.uniform(0.5, 0.82)))


def stone(rng: np.random.Generator) -> Material:
    """Grey or sandy stone, sometimes veined."""
    hue, saturation, value = rng.uniform(0.05, 0.15), rng.uniform(0.02, 0.25), rng.uniform(0.45, 0.8)
    base, vein = hsv(hue, saturation, value), hsv(hue, saturation, value * 0.78)
    return Material(base) if chance(rng, 0.5) else Material(base, vein, "noise", rng.uniform(2.0, 4.0), 2)


def leaf(rng: np.random.Generator) -> Material:
    """A green, now and then an autumn colour."""
    hue = rng.uniform(0.02, 0.12) if chance(rng, 0.2) else rng.uniform(0.22, 0.42)
    return Material(hsv(hue, rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.7)))


def fur(rng: np.random.Generator) -> Material:
    """Brown, grey, cream or black fur, sometimes spotted."""
    tones = ((0.07, 0.6, 0.5), (0.08, 0.4, 0.8), (0.1, 0.08, 0.6), (0.09, 0.2, 0.92), (0.05, 0.3, 0.25))
    base = hsv(*pick(rng, tones))
    if chance(rng, 0.6):
        return Material(base)
    return Material(base, hsv(*pick(rng, tones)), "spots", rng.uniform(2.5, 4.0))
