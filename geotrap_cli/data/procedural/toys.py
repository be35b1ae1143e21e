"""Robots, snowmen, stacked rings, dice and tops."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import DARK, WHITE, chance, decorated, metal, paint, pick, shaded, wood
from geotrap_cli.data.procedural.primitives import Part, around, box, cone, cylinder, lathe, sphere, torus, tube
from geotrap_cli.data.procedural.textures import Material


def robot(rng: np.random.Generator) -> list[Part]:
    """A boxy body with a head, eyes, aerials, arms and legs or wheels."""
    body, limb, glow = (paint(rng) if chance(rng, 0.6) else metal(rng)), metal(rng), paint(rng)
    wide, high, leg = rng.uniform(0.34, 0.5), rng.uniform(0.36, 0.5), rng.uniform(0.12, 0.34)
    top, head = leg + high, rng.uniform(0.2, 0.3)
    parts = [box((wide, 0.3, high), (0, 0, leg), body), cylinder(0.07, 0.08, (0, 0, top), limb)]
    parts.append(box((head * 1.3, 0.26, head), (0, 0, top + 0.06), body if chance(rng, 0.6) else limb))
    parts.append(box((wide * 0.55, 0.03, high * 0.4), (0, -0.15, leg + high * 0.4), glow))
    for side in (-1, 1):
        eye = cylinder(0.05, 0.05, (0, 0, 0), glow, sides=10).turned("x", 90)
        parts.append(eye.moved(x=side * head * 0.33, y=-0.12, z=top + 0.06 + head * 0.6))
        raised = rng.uniform(-0.3, 0.35)
        hand = (side * (wide / 2 + 0.24), -0.08, leg + high * 0.45 + raised)
        parts.append(
            tube([(side * wide * 0.5, 0, top - 0.08), (side * (wide / 2 + 0.15), 0, top - 0.12), hand], 0.05, limb)
        )
        parts.append(sphere(0.075, hand, body, 1))
        parts.append(box((0.12, 0.14, leg), (side * wide * 0.28, 0, 0), limb))
        parts.append(box((0.16, 0.26, 0.07), (side * wide * 0.28, -0.03, 0), shaded(body, 0.7)))
    for x in (0.0,) if chance(rng, 0.5) else (-0.08, 0.08):
        parts.append(cylinder(0.012, 0.16, (x, 0, top + 0.06 + head), limb, sides=6))
        parts.append(sphere(0.035, (x, 0, top + 0.24 + head), glow, 1))
    return parts


def snowman(rng: np.random.Generator) -> list[Part]:
    """Two or three balls of snow with a hat, a carrot, buttons, a scarf and stick arms."""
    snow, hat = Material((0.94, 0.96, 0.98)), (DARK if chance(rng, 0.5) else paint(rng))
    radii = [rng.uniform(0.34, 0.42), rng.uniform(0.25, 0.3), rng.uniform(0.18, 0.22)]
    if chance(rng, 0.3):
        radii = [radii[0], radii[2] * 1.15]
    parts, z = [], 0.0
    for radius in radii:
        z += radius * 0.85
        parts.append(sphere(radius, (0, 0, z), snow))
        z += radius * 0.75
    head = radii[-1]
    middle, top = z - head * 0.75, z + head * 0.05
    parts.append(
        cone(0.045, 0.22, (0, 0, 0), Material((0.95, 0.5, 0.1)), 8).turned("x", 90).moved(y=-head * 0.9, z=middle)
    )
    parts += [sphere(0.03, (s * 0.08, -head * 0.9, middle + 0.07), DARK, 1) for s in (-1, 1)]
    parts += [sphere(0.035, (0, -radii[-2] * 0.97, middle - head - 0.16 - 0.12 * k), DARK, 1) for k in range(2)]
    parts += [
        cylinder(head * 1.25, 0.03, (0, 0, top), hat),
        cylinder(head * 0.8, rng.uniform(0.16, 0.3), (0, 0, top), hat),
    ]
    parts.append(torus(head * 0.85, 0.05, (0, 0, middle - head * 0.8), decorated(rng, 0.4, 9.0)))
    for side in (-1, 1):
        shoulder = middle - head - 0.1
        tip = (side * (radii[-2] + 0.36), 0, shoulder + rng.uniform(-0.1, 0.25))
        parts.append(tube([(side * radii[-2] * 0.8, 0, shoulder), tip], [0.025, 0.015], wood(rng), 6))
    return parts


def ring_stack(rng: np.random.Generator) -> list[Part]:
    """Coloured rings on a peg, large below and small above, or in a muddle."""
    count, thick = int(rng.integers(3, 7)), rng.uniform(0.07, 0.1)
    widths = np.linspace(rng.uniform(0.34, 0.44), rng.uniform(0.14, 0.2), count)
    if chance(rng, 0.2):
        widths = rng.permutation(widths)
    parts = [cylinder(0.4, 0.07, (0, 0, 0), wood(rng), top=0.36, sides=20)]
    parts.append(cylinder(0.05, 0.12 + 1.8 * thick * count, (0, 0, 0), wood(rng), sides=10))
    for k, width in enumerate(widths):
        z = 0.07 + thick * (1.8 * k + 0.95)
        parts.append(torus(float(width) - thick * 0.5, thick, (0, 0, z), paint(rng), 20))
    return [*parts, sphere(0.1, (0, 0, 0.16 + 1.8 * thick * count), paint(rng))]


PIPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    2: ((-1, -1), (1, 1)),
    3: ((-1, -1), (0, 0), (1, 1)),
    4: ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    5: ((-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)),
    6: ((-1, -1), (-1, 0), (-1, 1), (1, -1), (1, 0), (1, 1)),
}
FACES = ((1, "x", 0.0), (6, "x", 180.0), (2, "x", 90.0), (5, "x", -90.0), (3, "y", 90.0), (4, "y", -90.0))


def _die(size: float, body: Material, dots: Material) -> list[Part]:
    half = size / 2
    parts = [box((size, size, size), (0, 0, -half), body)]
    for count, axis, degrees in FACES:
        for x, y in PIPS[count]:
            pip = cylinder(size * 0.1, 0.03, (x * half * 0.5, y * half * 0.5, half - 0.015), dots, sides=10)
            parts.append(pip.turned(axis, degrees))
    return parts


def dice(rng: np.random.Generator) -> list[Part]:
    """One die on an edge or flat, or two or three in a heap."""
    body = WHITE if chance(rng, 0.35) else paint(rng)
    dots = DARK if body is WHITE or chance(rng, 0.4) else WHITE
    count, parts = int(rng.integers(1, 4)), []
    for k in range(count):
        die = _die(0.5, body, dots)
        tip = pick(rng, (0, 0, 35, 45)) if count == 1 else 0
        spot = ((0.0, 0.0, 0.0), (0.6, 0.15, 0.0), (0.25, 0.1, 0.5))[k]
        yaw = rng.uniform(0, 90)
        parts += [part.turned("x", 90 * float(k)).turned("y", tip).turned("z", yaw).moved(*spot) for part in die]
    return parts


def spinning_top(rng: np.random.Generator) -> list[Part]:
    """A turned body on a point with a stem, in bands of colour."""
    width, low, high = rng.uniform(0.32, 0.45), rng.uniform(0.25, 0.4), rng.uniform(0.15, 0.35)
    lower = lathe([(0, 0), (0.03, 0.03), (width * 0.6, low * 0.6), (width, low)], decorated(rng, 0.5), 18)
    upper = lathe([(width, low), (width * 0.7, low + high * 0.6), (0.06, low + high)], decorated(rng, 0.6), 18)
    belt = torus(width, 0.03, (0, 0, low), paint(rng))
    stem = cylinder(0.045, rng.uniform(0.2, 0.35), (0, 0, low + high - 0.03), wood(rng), sides=10)
    return [lower, upper, belt, stem]


def gift(rng: np.random.Generator) -> list[Part]:
    """A wrapped box with crossed ribbons and a bow."""
    paper, ribbon = decorated(rng, 0.7), paint(rng)
    x, y, z = rng.uniform(0.45, 0.9, size=3)
    parts = [box((x, y, z), (0, 0, 0), paper), box((x * 1.05, y * 1.05, 0.14), (0, 0, z - 0.06), shaded(paper, 0.85))]
    parts += [box((0.12, y * 1.07, z + 0.1), (0, 0, 0), ribbon), box((x * 1.07, 0.12, z + 0.1), (0, 0, 0), ribbon)]
    for bx, by, degrees in around(int(rng.integers(2, 5)), 0.15, rng.uniform(0, 90)):
        loop = torus(0.11, 0.03, (0, 0, 0), ribbon, 12).turned("x", 90).scaled(x=1.3).turned("z", degrees)
        parts.append(loop.moved(bx, by, z + 0.17))
    return [*parts, sphere(0.06, (0, 0, z + 0.13), ribbon, 1)]
