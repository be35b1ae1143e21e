"""Dogs, birds, fish and turtles. Heads look towards -x."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import DARK, chance, decorated, fur, paint, pick, shaded
from geotrap_cli.data.procedural.primitives import Part, box, cone, cylinder, extrude, sphere, tube
from geotrap_cli.data.procedural.textures import Material


def eyes(x: float, half: float, z: float, size: float = 0.025) -> list[Part]:
    """A pair of dark eyes."""
    return [sphere(size, (x, side * half, z), DARK, 1) for side in (-1, 1)]


def dog(rng: np.random.Generator) -> list[Part]:
    """A quadruped with a snout, ears, legs and a tail; blocky or round."""
    coat = fur(rng)
    dark, blocky = shaded(coat, 0.65), chance(rng, 0.5)
    length, girth, leg = rng.uniform(0.5, 0.8), rng.uniform(0.13, 0.19), rng.uniform(0.18, 0.42)
    half, z = length / 2, leg + girth * 0.8
    if blocky:
        parts = [box((length, 2 * girth, 2 * girth), (0, 0, leg), coat)]
    else:
        parts = [tube([(-half, 0, z), (-half * 0.5, 0, z), (half, 0, z)], [girth * 0.7, girth, girth * 0.85], coat, 12)]
    for x in (-half * 0.8, half * 0.8):
        parts += [cylinder(0.05, leg + 0.08, (x, s * girth * 0.65, 0), coat, top=0.06, sides=8) for s in (-1, 1)]
        parts += [sphere((0.075, 0.06, 0.04), (x - 0.02, s * girth * 0.65, 0.035), dark, 1) for s in (-1, 1)]
    parts += _dog_head(rng, -half - 0.1, z + rng.uniform(0.14, 0.26), coat, dark, blocky)
    lift = rng.uniform(-0.1, 0.25)
    tail = [(half * 0.95, 0, z + 0.05), (half + 0.12, 0, z + 0.1 + lift * 0.6), (half + 0.2, 0, z + 0.15 + lift)]
    parts.append(tube(tail, [0.045, 0.04, 0.02], coat))
    if chance(rng, 0.5):
        parts.append(tube([(-half * 0.9, 0, z), (-half - 0.05, 0, z + 0.1)], girth * 0.8, paint(rng), 12))
    return parts


def _dog_head(rng: np.random.Generator, x: float, z: float, coat: Material, dark: Material, blocky: bool) -> list[Part]:
    size, snout = rng.uniform(0.14, 0.18), rng.uniform(0.1, 0.2)
    neck = tube([(x + 0.16, 0, z - 0.18), (x, 0, z)], [0.12, 0.1], coat)
    head = (
        box((size * 1.8, size * 1.8, size * 1.7), (x, 0, z - size * 0.85), coat)
        if blocky
        else sphere(size, (x, 0, z), coat)
    )
    tip = x - size - snout * 0.6
    parts = [neck, head, tube([(x - size * 0.5, 0, z - 0.04), (tip, 0, z - 0.05)], [0.09, 0.06], coat)]
    parts += [sphere(0.035, (tip - 0.02, 0, z - 0.03), DARK, 1), *eyes(x - size * 0.85, size * 0.5, z + 0.04, 0.028)]
    for side in (-1, 1):
        if chance(rng, 0.5):
            parts.append(cone(0.06, 0.14, (x + 0.02, side * size * 0.6, z + size * 0.6), dark, 6))
        else:
            parts.append(sphere((0.05, 0.03, 0.12), (x + 0.03, side * size * 1.05, z - 0.02), dark, 1))
    return parts


def bird(rng: np.random.Generator) -> list[Part]:
    """A round body with wings, a beak and legs; small bird, duck, penguin or flamingo by proportion."""
    feather, wing = paint(rng), paint(rng)
    orange = Material((0.95, 0.6, 0.15))
    leg, stretch = rng.uniform(0.08, 0.5), rng.uniform(0.8, 1.4)
    body, pitch = (0.27 * stretch, 0.21, 0.22), rng.uniform(-5, 40)
    z = leg + 0.2
    parts = [sphere(body, (0, 0, 0), feather).turned("y", pitch).moved(z=z)]
    neck = rng.uniform(0.05, 0.35)
    x, top = -0.2 * stretch, z + 0.16 + neck
    parts.append(tube([(-0.1 * stretch, 0, z + 0.05), (x, 0, top)], [0.13, 0.08], feather))
    parts.append(sphere(0.13, (x, 0, top), feather))
    parts.append(cone(0.05, rng.uniform(0.12, 0.22), (0, 0, 0), orange, 6).turned("y", -95).moved(x=x - 0.11, z=top))
    parts += eyes(x - 0.08, 0.09, top + 0.04)
    spread = chance(rng, 0.3)
    for side in (-1, 1):
        if spread:
            parts.append(sphere((0.14, 0.36, 0.03), (0.05, side * 0.42, z + 0.12), wing, 2))
        else:
            parts.append(sphere((0.22 * stretch, 0.045, 0.13), (0.05, side * 0.2, z + 0.02), wing, 2))
        foot = (-0.02, side * 0.08, 0.0)
        parts.append(tube([(0.0, side * 0.08, z - 0.12), foot], 0.02, orange, 6))
        parts.append(sphere((0.08, 0.045, 0.018), (-0.05, side * 0.08, 0), orange, 1))
    tail = [(0.2 * stretch, -0.06), (0.5 * stretch, 0.0), (0.5 * stretch, 0.1), (0.2 * stretch, 0.08)]
    return [*parts, extrude(tail, 0.16, wing).turned("y", -pitch * 0.3).moved(z=z)]


def fish(rng: np.random.Generator) -> list[Part]:
    """A flattened body with a tail fin, back fin, side fins and eyes."""
    scales, fin = decorated(rng, 0.75, 4.0), paint(rng)
    length, high, thick = rng.uniform(0.4, 0.6), rng.uniform(0.18, 0.36), rng.uniform(0.09, 0.17)
    parts = [sphere((length, thick, high), (0, 0, 0), scales, 3 if chance(rng, 0.5) else 2)]
    fork, tail = rng.uniform(0.02, 0.14), rng.uniform(0.2, 0.34)
    end = length + 0.28
    outline = [(length * 0.85, -0.05), (end, -tail), (end - fork, 0), (end, tail), (length * 0.85, 0.05)]
    parts.append(extrude(outline, 0.04, fin))
    back = [(-length * 0.35, high * 0.8), (length * 0.1, high + rng.uniform(0.1, 0.25)), (length * 0.6, high * 0.6)]
    parts.append(extrude(back, 0.035, fin))
    if chance(rng, 0.6):
        parts.append(
            extrude([(0, -high * 0.85), (length * 0.45, -high * 0.7), (length * 0.3, -high - 0.12)], 0.035, fin)
        )
    for side in (-1, 1):
        flap = sphere((0.13, 0.02, 0.07), (0.1, 0, 0), fin, 1).turned("z", side * 35)
        parts.append(flap.moved(x=-length * 0.25, y=side * thick * 0.85, z=-0.04))
        x = -length * 0.68
        parts.append(sphere(0.05, (x, side * thick * 0.62, high * 0.2), Material((0.95, 0.95, 0.92)), 1))
        parts.append(sphere(0.03, (x - 0.015, side * (thick * 0.62 + 0.035), high * 0.2), DARK, 1))
    return [*parts, sphere((0.04, 0.06, 0.025), (-length * 0.97, 0, -0.03), shaded(fin, 0.8), 1)]


def turtle(rng: np.random.Generator) -> list[Part]:
    """A domed shell with a rim, four flippers, a head and a tail."""
    skin, shell = (
        Material(pick(rng, ((0.45, 0.65, 0.3), (0.6, 0.6, 0.35), (0.35, 0.6, 0.5)))),
        decorated(rng, 0.75, 4.5),
    )
    length, width, dome = rng.uniform(0.4, 0.5), rng.uniform(0.32, 0.42), rng.uniform(0.2, 0.36)
    parts = [sphere((length, width, dome), (0, 0, 0.14), shell, 2 if chance(rng, 0.6) else 1)]
    parts.append(sphere((length * 1.08, width * 1.08, 0.07), (0, 0, 0.14), shaded(shell, 0.7), 2))
    reach = rng.uniform(0.14, 0.26)
    corners = [(sx * length * 0.62, sy * width * 0.95, 0.06) for sx in (-1, 1) for sy in (-1, 1)]
    parts += [sphere((0.1, reach, 0.06), corner, skin, 1) for corner in corners]
    head = -length - rng.uniform(0.12, 0.22)
    parts.append(tube([(-length * 0.7, 0, 0.14), (head, 0, 0.24)], [0.08, 0.09], skin))
    parts.append(sphere((0.13, 0.11, 0.11), (head - 0.03, 0, 0.26), skin))
    return [
        *parts,
        *eyes(head - 0.1, 0.08, 0.3),
        cone(0.05, 0.16, (length, 0, 0.12), skin, 6).turned("y", 100, (length, 0, 0.12)),
    ]
