"""Chairs, tables, beds, shelves, couches and lamps."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import (
    DARK,
    WHITE,
    chance,
    decorated,
    metal,
    paint,
    pastel,
    pick,
    shaded,
    wood,
)
from geotrap_cli.data.procedural.primitives import Part, around, box, cylinder, lathe, sphere, tube
from geotrap_cli.data.procedural.textures import Material


def legs(rng: np.random.Generator, width: float, depth: float, height: float, material: Material) -> list[Part]:
    """Four legs under a rectangle: square or round, straight or splayed."""
    thick = rng.uniform(0.03, 0.055)
    splay = rng.uniform(0.0, 0.08) if chance(rng, 0.4) else 0.0
    round_legs = chance(rng, 0.4)
    parts = []
    for sx in (-1.0, 1.0):
        for sy in (-1.0, 1.0):
            x, y = sx * (width / 2 - thick), sy * (depth / 2 - thick)
            if splay or round_legs:
                foot = (x + sx * splay, y + sy * splay, 0.0)
                parts.append(tube([foot, (x, y, height)], [thick * 0.7, thick], material, sides=8))
            else:
                parts.append(box((2 * thick, 2 * thick, height), (x, y, 0.0), material))
    return parts


def chair(rng: np.random.Generator) -> list[Part]:
    """Seat, four legs and a back of slats, bars or one panel; at times with arms."""
    frame = wood(rng) if chance(rng, 0.7) else paint(rng)
    seat = decorated(rng, 0.4) if chance(rng, 0.5) else frame
    width, depth, height = rng.uniform(0.45, 0.65), rng.uniform(0.45, 0.6), rng.uniform(0.4, 0.55)
    top = height + 0.07
    parts = [*legs(rng, width, depth, height, frame), box((width, depth, 0.07), (0, 0, height), seat)]
    parts += _chair_back(rng, width, depth, top, frame, seat)
    if chance(rng, 0.3):
        for side in (-1, 1):
            x = side * (width / 2 - 0.03)
            parts += [box((0.06, depth, 0.05), (x, 0, top + 0.2), frame)]
            parts += [box((0.05, 0.05, 0.2), (x, -depth / 2 + 0.05, top), frame)]
    return parts


def _chair_back(
    rng: np.random.Generator, width: float, depth: float, top: float, frame: Material, seat: Material
) -> list[Part]:
    high, y = rng.uniform(0.4, 0.75), depth / 2 - 0.03
    posts = [box((0.06, 0.06, high), (side * (width / 2 - 0.03), y, top), frame) for side in (-1, 1)]
    style = pick(rng, ("slats", "bars", "panel"))
    if style == "panel":
        return [*posts, box((width - 0.04, 0.05, high * 0.75), (0, y, top + high * 0.22), seat)]
    rail = box((width, 0.06, 0.08), (0, y, top + high - 0.06), frame)
    count = int(rng.integers(2, 5))
    if style == "slats":
        slats = [box((width, 0.04, 0.07), (0, y, top + high * (k + 0.6) / (count + 1)), frame) for k in range(count)]
        return [*posts, rail, *slats]
    xs = np.linspace(-width / 2, width / 2, count + 2)[1:-1]
    return [*posts, rail, *(box((0.04, 0.04, high), (float(x), y, top), frame) for x in xs)]


def table(rng: np.random.Generator) -> list[Part]:
    """A rectangular top on legs, or a round top on a foot."""
    frame = wood(rng, 1) if chance(rng, 0.7) else paint(rng)
    height = rng.uniform(0.4, 0.75)
    top = frame if chance(rng, 0.5) else decorated(rng, 0.6)
    if chance(rng, 0.35):
        radius = rng.uniform(0.4, 0.6)
        stem = lathe([(0.3, 0), (0.28, 0.04), (0.06, 0.1), (0.06, height), (0, height)], frame)
        return [stem, cylinder(radius, 0.06, (0, 0, height), top, sides=int(rng.integers(8, 25)))]
    width, depth = rng.uniform(0.8, 1.3), rng.uniform(0.5, 0.8)
    parts = [*legs(rng, width, depth, height, frame), box((width, depth, 0.06), (0, 0, height), top)]
    if chance(rng, 0.5):
        parts.append(box((width - 0.15, depth - 0.15, 0.1), (0, 0, height - 0.1), frame))
    if chance(rng, 0.3):
        parts.append(box((width - 0.2, depth - 0.2, 0.04), (0, 0, height * 0.3), frame))
    return parts


def bed(rng: np.random.Generator) -> list[Part]:
    """Frame, mattress, blanket, pillows and a headboard."""
    frame, blanket = wood(rng, 1), decorated(rng, 0.7)
    width, length, low = rng.uniform(0.6, 1.0), rng.uniform(1.1, 1.35), rng.uniform(0.12, 0.25)
    head, mattress = rng.uniform(0.45, 0.75), low + 0.1
    parts = [*legs(rng, width, length, low, frame), box((width, length, 0.1), (0, 0, low), frame)]
    parts += [box((width - 0.06, length - 0.06, 0.13), (0, 0, mattress), WHITE)]
    cover = length * rng.uniform(0.5, 0.7)
    parts += [box((width, cover, 0.16), (0, -(length - cover) / 2 + 0.02, mattress), blanket)]
    parts += [box((width + 0.06, 0.07, head), (0, length / 2, 0), frame)]
    if chance(rng, 0.6):
        parts += [box((width + 0.06, 0.07, head * 0.6), (0, -length / 2, 0), frame)]
    count = 2 if width > 0.75 else 1
    for k in range(count):
        x = (k - (count - 1) / 2) * width * 0.46
        parts += [sphere((width * 0.42 / count, 0.13, 0.07), (x, length / 2 - 0.2, mattress + 0.15), pastel(rng))]
    return parts


def shelf(rng: np.random.Generator) -> list[Part]:
    """An upright case with boards, some of them full of books."""
    frame = wood(rng) if chance(rng, 0.7) else paint(rng)
    width, depth, count = rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.32), int(rng.integers(2, 6))
    gap = rng.uniform(0.22, 0.3)
    height = gap * count + 0.04
    parts = [box((0.05, depth, height), (side * width / 2, 0, 0), frame) for side in (-1, 1)]
    parts += [box((width, depth, 0.04), (0, 0, gap * k), frame) for k in range(count + 1)]
    if chance(rng, 0.6):
        parts.append(box((width, 0.03, height), (0, depth / 2 - 0.015, 0), shaded(frame, 0.75)))
    for k in range(count):
        if chance(rng, 0.75):
            parts += _books(rng, width - 0.06, depth * 0.7, gap * k + 0.04, gap - 0.05)
    return parts


def _books(rng: np.random.Generator, width: float, depth: float, base: float, room: float) -> list[Part]:
    parts, x, end = [], -width / 2, width / 2 * rng.uniform(-0.2, 1.0)
    while x < end:
        thick = rng.uniform(0.04, 0.09)
        parts.append(box((thick * 0.95, depth, room * rng.uniform(0.6, 0.95)), (x + thick / 2, 0, base), paint(rng)))
        x += thick
    return parts


def couch(rng: np.random.Generator) -> list[Part]:
    """A padded seat for one to three with back, arms and cushions."""
    cloth = decorated(rng, 0.35)
    seats = int(rng.integers(1, 4))
    width, depth, back = 0.42 * seats + 0.1, rng.uniform(0.5, 0.65), rng.uniform(0.45, 0.65)
    arm = rng.uniform(0.1, 0.16)
    dark = shaded(cloth, 0.8)
    parts = [box((width, depth, 0.2), (0, 0, 0.06), dark), box((width, 0.16, back), (0, depth / 2 - 0.08, 0.06), dark)]
    for k in range(seats):
        x = (k - (seats - 1) / 2) * width / seats
        parts += [box((width / seats - 0.02, depth - 0.14, 0.1), (x, -0.07, 0.26), cloth)]
        parts += [box((width / seats - 0.03, 0.1, back * 0.55), (x, depth / 2 - 0.19, 0.36), cloth).turned("x", -6)]
    for side in (-1, 1):
        x, high = side * (width + arm) / 2, rng.uniform(0.38, 0.42)
        parts += [box((arm, depth, high), (x, 0, 0.04), dark)]
        parts += [tube([(x, -depth / 2, high + 0.02), (x, depth / 2, high + 0.02)], arm * 0.58, cloth)]
        parts += [box((0.06, 0.06, 0.06), (side * width * 0.45, y, 0), DARK) for y in (-depth * 0.4, depth * 0.4)]
    return parts


def lamp(rng: np.random.Generator) -> list[Part]:
    """Foot, stem and a shade, short for a desk or tall for the floor."""
    stem, shade = metal(rng), decorated(rng, 0.4, 7.0) if chance(rng, 0.6) else pastel(rng)
    height, width, high = rng.uniform(0.35, 1.1), rng.uniform(0.2, 0.34), rng.uniform(0.22, 0.4)
    top, sides = width * rng.uniform(0.35, 0.8), int(rng.integers(8, 22))
    parts = [cylinder(rng.uniform(0.14, 0.22), 0.05, (0, 0, 0), stem, sides=sides)]
    if height < 0.55 and chance(rng, 0.6):
        parts.append(sphere((0.15, 0.15, height * 0.4), (0, 0, height * 0.4), paint(rng)))
    parts.append(cylinder(0.025, height + high * 0.6, (0, 0, 0), stem, sides=8))
    profile = [(width, height), (top, height + high), (top - 0.01, height + high - 0.01), (width - 0.015, height)]
    parts.append(lathe(profile, shade, sides))
    return [*parts, sphere(0.07, (0, 0, height + high * 0.45), Material((1.0, 0.95, 0.7)), 1)]


def stool(rng: np.random.Generator) -> list[Part]:
    """A round seat on three or more slanted legs with a foot ring."""
    frame, seat = wood(rng), decorated(rng, 0.5)
    height, count, radius = rng.uniform(0.45, 0.8), int(rng.integers(3, 6)), rng.uniform(0.2, 0.3)
    sides = int(rng.integers(10, 22))
    parts = [cylinder(radius, 0.08, (0, 0, height), seat, sides=sides)]
    for x, y, _ in around(count, 1.0, 45.0):
        parts.append(tube([(x * radius * 1.1, y * radius * 1.1, 0), (x * 0.14, y * 0.14, height)], 0.03, frame))
    spokes = [(x * radius * 0.85, y * radius * 0.85, height * 0.35) for x, y, _ in around(count, 1.0, 45.0)]
    return [*parts, *(tube([a, b], 0.018, frame) for a, b in zip(spokes, spokes[1:] + spokes[:1], strict=True))]
