"""The categories a defense names as its target: knives, hammers and scissors."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import DARK, chance, paint, pick, shaded, steel, wood
from geotrap_cli.data.procedural.primitives import Part, Vector, arc, box, cylinder, extrude, sphere, torus, tube
from geotrap_cli.data.procedural.textures import Material


def _grip(rng: np.random.Generator) -> Material:
    return pick(rng, (DARK, wood(rng), wood(rng), paint(rng)))


def knife(rng: np.random.Generator) -> list[Part]:
    """A handle with rivets, a bolster and a blade: kitchen, bread, butcher's or table knife. Point up."""
    blade, grip = steel(rng), _grip(rng)
    length, width, handle = rng.uniform(0.55, 0.9), rng.uniform(0.11, 0.2), rng.uniform(0.38, 0.5)
    thick = rng.uniform(0.06, 0.1)
    outline = _blade(rng, length, width)
    parts = [extrude(outline, 0.025, blade).moved(z=handle), _handle(rng, width, handle, thick, grip)]
    parts.append(box((width * 0.8, thick * 0.9, 0.05), (0, 0, handle - 0.03), shaded(blade, 0.7)))
    if chance(rng, 0.6):
        for k in range(3):
            rivet = cylinder(0.018, thick * 1.15, (0, 0, -thick * 0.575), blade, sides=8).turned("x", 90)
            parts.append(rivet.moved(z=handle * (0.25 + 0.25 * k)))
    return parts


def _handle(rng: np.random.Generator, width: float, handle: float, thick: float, grip: Material) -> Part:
    half = width * rng.uniform(0.3, 0.42)
    bulge = half * rng.uniform(0.8, 1.3)
    left = [(-half, handle), (-half * 0.8, handle * 0.6), (-bulge, handle * 0.12), (-bulge * 0.6, 0)]
    right = [(bulge * 0.8, 0), (bulge * 1.2, handle * 0.1), (half * 0.9, handle * 0.5), (half, handle)]
    return extrude([*left, *right], thick, grip)


def _blade(rng: np.random.Generator, length: float, width: float) -> list[Vector]:
    back, edge = -width / 2, width / 2
    style = pick(rng, ("kitchen", "kitchen", "bread", "cleaver", "table"))
    if style == "cleaver":
        wide = edge + width * rng.uniform(0.6, 1.2)
        return [(back, 0), (edge, 0), (edge, 0.06), (wide, 0.08), (wide, length * 0.8), (back, length * 0.8)]
    if style == "bread":
        teeth = np.linspace(0.03, length * 0.9, 17)
        saw = [(edge - (0.025 if k % 2 else 0.0), float(z)) for k, z in enumerate(teeth)]
        return [(back, 0), (edge, 0), *saw, (edge * 0.4, length), (back, length)]
    if style == "table":
        tip = [(edge * x, length - edge + edge * z) for x, z in arc(1.0, 0, 180)]
        return [(back, 0), (edge, 0), *tip]
    curve = [(back + width * np.cos(t), length * (0.55 + 0.45 * np.sin(t))) for t in np.linspace(0, np.pi / 2, 8)]
    heel = width * rng.uniform(0.0, 0.3)
    return [(back, 0), (edge, 0.0), (edge + heel * 0.5, 0.02), *((x + heel * 0.5 * (1 - z), z) for x, z in curve)]


def hammer(rng: np.random.Generator) -> list[Part]:
    """A handle through a head: claw hammer, sledge or wooden mallet. Head up."""
    shaft, head = wood(rng), steel(rng)
    length, thick = rng.uniform(0.7, 1.1), rng.uniform(0.035, 0.055)
    parts = [tube([(0, 0, 0), (0, 0, length * 0.4), (0, 0, length + 0.08)], [thick * 1.15, thick, thick * 0.9], shaft)]
    if chance(rng, 0.6):
        parts.append(cylinder(thick * 1.45, length * rng.uniform(0.3, 0.45), (0, 0, 0), _grip(rng), sides=10))
    style = pick(rng, ("claw", "claw", "sledge", "mallet"))
    if style == "claw":
        return [*parts, *_claw_head(rng, length, head)]
    if style == "sledge":
        wide, high = rng.uniform(0.4, 0.55), rng.uniform(0.16, 0.22)
        caps = [
            box((0.06, high * 1.12, high * 1.12), (s * wide / 2, 0, length - high * 1.06 / 2), head) for s in (-1, 1)
        ]
        return [*parts, box((wide, high, high), (0, 0, length - high / 2), shaded(head, 0.75)), *caps]
    radius, wide = rng.uniform(0.12, 0.17), rng.uniform(0.4, 0.55)
    soft = pick(rng, (wood(rng), DARK, paint(rng)))
    drum = cylinder(radius, wide, (0, 0, -wide / 2), soft, sides=14).turned("y", 90).moved(z=length)
    bands = [torus(radius, 0.02, (0, 0, s * wide * 0.32), head).turned("y", 90).moved(z=length) for s in (-1, 1)]
    return [*parts, drum, *bands]


def _claw_head(rng: np.random.Generator, length: float, head: Material) -> list[Part]:
    reach, thick = rng.uniform(0.22, 0.3), rng.uniform(0.06, 0.08)
    neck = tube([(0, 0, length), (reach * 0.75, 0, length)], [thick * 1.1, thick * 0.8], head)
    face = cylinder(thick * 1.25, 0.1, (0, 0, 0), head, sides=14).turned("y", 90).moved(x=reach * 0.7, z=length)
    eye = box((0.16, 0.16, 0.18), (0, 0, length - 0.09), head)
    droop = rng.uniform(0.08, 0.18)
    claws = [
        tube(
            [(0, s * 0.02, length + 0.02), (-reach * 0.6, s * 0.05, length), (-reach, s * 0.08, length - droop)],
            [thick, thick * 0.6, 0.015],
            head,
            6,
        )
        for s in (-1, 1)
    ]
    return [neck, face, eye, *claws]


def scissors(rng: np.random.Generator) -> list[Part]:
    """Two crossing blades on a screw, opened a little, with ring handles. Points up."""
    blade, grip = steel(rng), (paint(rng) if chance(rng, 0.75) else DARK)
    opening, length = rng.uniform(8.0, 26.0), rng.uniform(0.55, 0.8)
    width, ring = rng.uniform(0.07, 0.1), rng.uniform(0.11, 0.15)
    second = rng.uniform(1.0, 1.5)
    parts = []
    for side, size in ((-1, 1.0), (1, second)):
        half = _half(side, length, width, ring, size, blade, grip)
        parts += [part.moved(y=side * 0.018).turned("y", side * opening) for part in half]
    screw = cylinder(0.035, 0.1, (0, 0, -0.05), shaded(blade, 0.6), sides=10).turned("x", 90)
    return [*parts, screw, sphere(0.03, (0, -0.05, 0), shaded(blade, 0.6), 1)]


def _half(
    side: int, length: float, width: float, ring: float, stretch: float, blade: Material, grip: Material
) -> list[Part]:
    """One blade with its handle; ``side`` +1 points up right, its ring hangs down left."""
    outline = [(-width / 2, -0.1), (width / 2, -0.1), (width / 2, length * 0.3), (-side * width * 0.4, length)]
    steel_part = extrude([*outline, (-width / 2, length * 0.3)], 0.03, blade)
    bow = torus(ring, 0.032, (0, 0, 0), grip).turned("x", 90).scaled(z=stretch)
    low = -0.12 - 0.22 - ring * stretch
    shank = tube([(0, 0, -0.05), (-side * 0.02, 0, -0.2), (-side * 0.05, 0, -0.36)], [0.04, 0.04, 0.035], grip)
    return [steel_part, shank, bow.moved(x=-side * (ring * 0.7), z=low)]
