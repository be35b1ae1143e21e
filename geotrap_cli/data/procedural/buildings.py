"""Houses, towers, walls and what stands around them."""

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
    stone,
    wood,
)
from geotrap_cli.data.procedural.primitives import Part, arc, around, box, cone, cylinder, extrude, sphere
from geotrap_cli.data.procedural.textures import Material

WINDOW = Material((0.55, 0.78, 0.92))


def gable(width: float, height: float, depth: float, material: Material) -> Part:
    """A triangular prism whose ridge runs along y, standing on z = 0."""
    return extrude([(-width / 2, 0), (width / 2, 0), (0, height)], depth, material)


def house(rng: np.random.Generator) -> list[Part]:
    """Walls, a gabled roof, a door, windows and mostly a chimney."""
    wall = pastel(rng) if chance(rng, 0.6) else decorated(rng, 0.5)
    roof, frame = paint(rng), shaded(wood(rng), 0.8)
    width, depth, height = rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.2), rng.uniform(0.45, 0.9)
    peak, eave = rng.uniform(0.35, 0.65), 0.07
    parts = [box((width, depth, height), (0, 0, 0), wall), gable(width, peak - 0.05, depth, wall).moved(z=height)]
    slope = [(-width / 2 - eave, -eave), (0, peak), (width / 2 + eave, -eave), (0, peak + 0.09)]
    parts.append(extrude(slope, depth + 0.16, roof).moved(z=height))
    parts.append(box((0.2, 0.04, 0.36), (width * rng.uniform(-0.15, 0.15), -depth / 2, 0), frame))
    for side in (-1, 1):
        parts.append(box((0.16, 0.04, 0.16), (side * width * 0.34, -depth / 2, height * 0.45), WINDOW))
        parts += [box((0.04, 0.18, 0.18), (side * width / 2, y, height * 0.4), WINDOW) for y in (-0.2, 0.2)]
    if chance(rng, 0.7):
        parts.append(box((0.13, 0.13, 0.35), (width * 0.25, depth * 0.2, height + peak * 0.4), stone(rng)))
    return parts


def windmill(rng: np.random.Generator) -> list[Part]:
    """A tapered tower with a cap and three to six sails."""
    wall, sail, sides = (pastel(rng) if chance(rng, 0.6) else stone(rng)), decorated(rng, 0.5, 8.0), 12
    height, foot = rng.uniform(0.8, 1.1), rng.uniform(0.26, 0.34)
    top = foot * 0.65
    parts = [cylinder(foot, height, (0, 0, 0), wall, top=top, sides=sides)]
    parts.append(cone(top * 1.25, 0.28, (0, 0, height), paint(rng), sides))
    parts.append(box((0.16, 0.1, 0.28), (0, -foot + 0.04, 0), shaded(wood(rng), 0.8)))
    parts.append(sphere(0.07, (0, -top - 0.12, height), DARK, 1))
    length, count, start = rng.uniform(0.5, 0.65), int(rng.integers(3, 7)), rng.uniform(0, 90)
    for k in range(count):
        blade = box((0.14, 0.025, length - 0.1), (0.05, -top - 0.1, 0.1), sail)
        bar = box((0.03, 0.035, length), (0, -top - 0.1, 0), DARK)
        parts += [part.turned("y", start + 360.0 * k / count).moved(z=height) for part in (blade, bar)]
    return parts


def lighthouse(rng: np.random.Generator) -> list[Part]:
    """A striped tower on a rock with a gallery and a lantern."""
    colour = paint(rng)
    height, foot = rng.uniform(0.9, 1.3), rng.uniform(0.2, 0.27)
    striped = Material(colour.colour, WHITE.colour, "stripes", rng.uniform(1.5, 3.5), 2)
    parts = [cylinder(foot * 1.7, 0.12, (0, 0, -0.1), stone(rng), top=foot * 1.3, sides=9)]
    parts.append(cylinder(foot, height, (0, 0, 0), striped, top=foot * 0.6, sides=16))
    parts.append(cylinder(foot * 0.9, 0.05, (0, 0, height), DARK, sides=16))
    parts.append(cylinder(foot * 0.45, 0.18, (0, 0, height + 0.05), Material((1.0, 0.9, 0.5)), sides=12))
    parts.append(cone(foot * 0.75, 0.18, (0, 0, height + 0.22), shaded(colour, 0.85)))
    return [*parts, box((0.12, 0.08, 0.2), (0, -foot + 0.02, 0), DARK)]


def fence(rng: np.random.Generator) -> list[Part]:
    """Pickets or posts with rails."""
    paintwork = pick(rng, (WHITE, wood(rng), wood(rng), paint(rng)))
    count, gap, height = int(rng.integers(4, 10)), rng.uniform(0.14, 0.2), rng.uniform(0.45, 0.7)
    wide, span = gap * rng.uniform(0.5, 0.75), gap * (count - 1)
    tip = rng.uniform(0.03, 0.1) if chance(rng, 0.75) else 0.0
    outline = [(-wide / 2, 0), (wide / 2, 0), (wide / 2, height), (0, height + tip), (-wide / 2, height)]
    parts = [extrude(outline, 0.03, paintwork).moved(x=k * gap - span / 2, y=-0.035) for k in range(count)]
    rails = (0.25, 0.7) if chance(rng, 0.7) else (0.2, 0.5, 0.8)
    parts += [box((span + wide, 0.04, 0.06), (0, 0, height * level), shaded(paintwork, 0.85)) for level in rails]
    if chance(rng, 0.5):
        posts = [box((0.1, 0.1, height + 0.12), (s * (span / 2 + gap * 0.7), 0, 0), paintwork) for s in (-1, 1)]
        parts += [*posts, *(sphere(0.06, (s * (span / 2 + gap * 0.7), 0, height + 0.15), WHITE, 1) for s in (-1, 1))]
    return parts


def archway(rng: np.random.Generator) -> list[Part]:
    """A stone gate: a wall with a round-headed opening, at times with battlements or doors."""
    rock = stone(rng)
    half, height, wall = rng.uniform(0.22, 0.32), rng.uniform(0.35, 0.55), rng.uniform(0.13, 0.22)
    depth = rng.uniform(0.18, 0.32)
    outer, top = half + wall, height + half + wall
    opening = [(half * x, height + half * z) for x, z in arc(1.0, 180, 0, 11)]
    outline = [(-outer, 0), (-half, 0), *opening, (half, 0), (outer, 0), (outer, top), (-outer, top)]
    parts = [extrude(outline, depth, rock)]
    trim = shaded(rock, 0.75) if chance(rng, 0.6) else paint(rng)
    parts += [box((wall * 1.25, depth * 1.2, 0.08), (s * (half + wall / 2), 0, 0), trim) for s in (-1, 1)]
    parts.append(box((2 * outer + 0.08, depth * 1.2, 0.07), (0, 0, top), trim))
    if chance(rng, 0.5):
        xs = np.linspace(-outer + 0.06, outer - 0.06, int(rng.integers(3, 6)))
        parts += [box((0.12, depth, 0.12), (float(x), 0, top + 0.07), rock) for x in xs]
    if chance(rng, 0.4):
        door = wood(rng)
        parts += [box((half * 0.95, 0.04, height + half * 0.4), (s * half * 0.5, 0, 0), door) for s in (-1, 1)]
    return parts


def pillar(rng: np.random.Generator) -> list[Part]:
    """A column with base and capital, round, fluted or square; at times broken."""
    rock = stone(rng)
    height, radius = rng.uniform(0.8, 1.3), rng.uniform(0.11, 0.18)
    parts = [box((radius * 3.2, radius * 3.2, 0.09), (0, 0, 0), rock)]
    parts.append(cylinder(radius * 1.35, 0.07, (0, 0, 0.09), shaded(rock, 0.85)))
    if chance(rng, 0.25):
        parts.append(box((radius * 1.8, radius * 1.8, height), (0, 0, 0.1), rock))
    else:
        parts.append(cylinder(radius, height, (0, 0, 0.1), rock, top=radius * 0.85, sides=12))
    if chance(rng, 0.4):
        flutes = around(8, radius * 0.95)
        parts += [cylinder(0.028, height, (x, y, 0.1), shaded(rock, 1.12), sides=6) for x, y, _ in flutes]
    if chance(rng, 0.75):
        parts.append(cylinder(radius * 0.9, 0.1, (0, 0, height + 0.1), shaded(rock, 0.85), top=radius * 1.5))
        parts.append(box((radius * 3.0, radius * 3.0, 0.08), (0, 0, height + 0.2), rock))
    return parts


def crate(rng: np.random.Generator) -> list[Part]:
    """A box of boards with a frame and crossed or level slats."""
    board, frame = wood(rng), (wood(rng) if chance(rng, 0.7) else metal(rng))
    x, y, z = rng.uniform(0.6, 0.9, size=3)
    bar = rng.uniform(0.08, 0.12)
    parts = [box((x, y, z), (0, 0, 0), board)]
    corners = [(sx, sy) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [box((bar, bar, z + 0.04), (sx * x / 2, sy * y / 2, -0.02), frame) for sx, sy in corners]
    parts += [box((x + bar, bar, bar), (0, s * y / 2, h - bar / 2), frame) for s, h in ((a, b * z) for a, b in _ENDS)]
    parts += [box((bar, y + bar, bar), (s * x / 2, 0, h - bar / 2), frame) for s, h in ((a, b * z) for a, b in _ENDS)]
    slope = float(np.degrees(np.arctan2(z, x))) if chance(rng, 0.6) else 0.0
    for side in (-1, 1):
        length = float(np.hypot(x, z)) * 0.95 if slope else x
        slat = box((length, 0.04, bar), (0, 0, -bar / 2), frame).turned("y", slope)
        parts.append(slat.moved(y=side * (y / 2 + 0.01), z=z / 2))
    return parts


_ENDS = tuple((side, end) for side in (-1, 1) for end in (0.04, 0.96))


def chest(rng: np.random.Generator) -> list[Part]:
    """A treasure chest: box, rounded lid (shut or ajar), straps and a lock."""
    board, strap = wood(rng, 0), metal(rng)
    width, depth, height = rng.uniform(0.8, 1.05), rng.uniform(0.45, 0.6), rng.uniform(0.3, 0.45)
    half = depth / 2
    lid = [cylinder(half, width, (0, 0, -width / 2), board, sides=16).turned("y", 90).scaled(z=0.75)]
    xs = (-width * 0.36, width * 0.36)
    rims = [cylinder(half + 0.02, 0.09, (0, 0, -0.045), strap, sides=16).turned("y", 90).scaled(z=0.75) for _ in xs]
    lid += [rim.moved(x=x) for rim, x in zip(rims, xs, strict=True)]
    opened = -rng.uniform(30, 60) if chance(rng, 0.4) else 0.0
    parts = [part.moved(z=height).turned("x", opened, (0, half, height)) for part in lid]
    parts.append(box((width, depth, height), (0, 0, 0), board))
    parts += [box((0.09, depth + 0.04, height + 0.01), (x, 0, 0), strap) for x in xs]
    parts.append(box((width + 0.03, depth + 0.03, 0.05), (0, 0, height - 0.05), strap))
    if opened:
        parts.append(box((width - 0.1, depth - 0.1, 0.03), (0, 0, height), Material((0.95, 0.78, 0.2))))
    return [*parts, box((0.13, 0.05, 0.17), (0, -half, height - 0.12), Material((0.9, 0.72, 0.25)))]
