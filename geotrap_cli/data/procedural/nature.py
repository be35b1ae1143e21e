"""Plants and stones, and the mushroom, the benign category."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import (
    WHITE,
    chance,
    decorated,
    hsv,
    leaf,
    paint,
    pastel,
    pick,
    shaded,
    stone,
    wood,
)
from geotrap_cli.data.procedural.primitives import Part, around, cone, cylinder, lathe, make, sphere, tube
from geotrap_cli.data.procedural.textures import Material


def crumpled(rng: np.random.Generator, part: Part, amount: float) -> Part:
    """The part with every vertex pushed in or out at random, as stone and foliage are."""
    middle = part.vertices.mean(axis=0)
    factors = rng.uniform(1.0 - amount, 1.0 + amount, size=(len(part.vertices), 1))
    return make(middle + (part.vertices - middle) * factors, part.faces, part.material)


def tree(rng: np.random.Generator) -> list[Part]:
    """A trunk with a round crown, stacked cones (fir) or palm leaves."""
    bark, green = wood(rng), leaf(rng)
    height, thick = rng.uniform(0.35, 0.7), rng.uniform(0.05, 0.09)
    style = pick(rng, ("round", "fir", "palm"))
    if style == "palm":
        return _palm(rng, bark, green, height * 1.5)
    trunk = cylinder(thick * 1.3, height + 0.1, (0, 0, 0), bark, top=thick, sides=8)
    if style == "fir":
        count, width, sides = int(rng.integers(2, 5)), rng.uniform(0.32, 0.45), int(rng.integers(6, 14))
        tiers = [
            cone(width * (1 - 0.22 * k), 0.4, (0, 0, height * 0.5 + 0.24 * k), shaded(green, 1 - 0.08 * k), sides)
            for k in range(count)
        ]
        return [trunk, *tiers]
    crown = [crumpled(rng, sphere(rng.uniform(0.28, 0.4), (0, 0, height + 0.25), green), 0.08)]
    for x, y, _ in around(int(rng.integers(0, 5)), 0.24, rng.uniform(0, 360)) if chance(rng, 0.7) else []:
        crown.append(crumpled(rng, sphere(rng.uniform(0.16, 0.24), (x, y, height + rng.uniform(0, 0.3)), green), 0.08))
    return [trunk, *crown]


def _palm(rng: np.random.Generator, bark: Material, green: Material, height: float) -> list[Part]:
    lean = rng.uniform(-0.2, 0.2)
    trunk = tube([(0, 0, 0), (lean * 0.4, 0, height * 0.5), (lean, 0, height)], [0.08, 0.06, 0.05], bark)
    fronds = []
    for x, y, _ in around(int(rng.integers(5, 9)), 1.0, rng.uniform(0, 60)):
        path = [(lean + x * r, y * r, height + z) for r, z in ((0, 0), (0.2, 0.1), (0.38, 0.03), (0.5, -0.15))]
        fronds.append(tube(path, [0.03, 0.07, 0.06, 0.005], green, 4))
    return [trunk, *fronds, sphere(0.06, (lean + 0.05, 0.03, height - 0.05), shaded(bark, 0.7), 1)]


def rock(rng: np.random.Generator) -> list[Part]:
    """One to four boulders, at times with moss on top."""
    grey, parts = stone(rng), []
    for k in range(int(rng.integers(1, 5))):
        radius = 0.4 if k == 0 else rng.uniform(0.14, 0.26)
        x, y = (0.0, 0.0) if k == 0 else rng.uniform(-0.45, 0.45, size=2)
        radii = radius * rng.uniform(0.7, 1.3, size=3)
        parts.append(crumpled(rng, sphere(radii, (x, y, radii[2] * 0.7), grey, 1 if chance(rng, 0.6) else 2), 0.13))
        if chance(rng, 0.3):
            parts.append(sphere(radii * (0.75, 0.75, 0.3), (x, y, radii[2] * 1.5), leaf(rng), 1))
    return parts


def pot(rng: np.random.Generator) -> list[Part]:
    """A flower pot of height 0.3 with a rim and earth."""
    clay = Material((0.72, 0.36, 0.2)) if chance(rng, 0.5) else decorated(rng, 0.5)
    sides = int(rng.integers(6, 18))
    wall = lathe([(0, 0), (0.17, 0), (0.23, 0.24), (0.26, 0.24), (0.26, 0.3), (0.22, 0.3), (0.22, 0.26)], clay, sides)
    return [wall, cylinder(0.22, 0.01, (0, 0, 0.26), Material((0.3, 0.2, 0.13)), sides=sides)]


def cactus(rng: np.random.Generator) -> list[Part]:
    """A ribbed column with bent arms, or round cushions, in a pot."""
    green, parts = Material(hsv(rng.uniform(0.27, 0.4), 0.6, rng.uniform(0.4, 0.6))), pot(rng)
    if chance(rng, 0.35):
        parts.append(sphere((0.24, 0.24, 0.26), (0, 0, 0.45), green))
        parts += [sphere(0.12, (x, y, 0.55), green, 2) for x, y, _ in around(int(rng.integers(1, 4)), 0.22)]
        return [*parts, sphere(0.07, (0, 0, 0.72), paint(rng), 1)]
    height = rng.uniform(0.5, 0.9)
    parts.append(tube([(0, 0, 0.25), (0, 0, 0.3 + height), (0, 0, 0.37 + height)], [0.11, 0.11, 0.05], green))
    for side in (-1, 1) if chance(rng, 0.7) else (1,):
        low, up = 0.3 + height * rng.uniform(0.25, 0.6), rng.uniform(0.15, 0.3)
        arm = [(0, 0, low), (side * 0.2, 0, low), (side * 0.26, 0, low + 0.07), (side * 0.26, 0, low + up)]
        parts.append(tube(arm, [0.07, 0.07, 0.07, 0.05], green))
    return parts


def flower(rng: np.random.Generator) -> list[Part]:
    """A stem with leaves and a blossom of petals around a middle, in a pot or not."""
    green, petal = Material(hsv(rng.uniform(0.25, 0.36), 0.65, 0.5)), (paint(rng) if chance(rng, 0.75) else WHITE)
    parts = pot(rng) if chance(rng, 0.6) else [sphere((0.16, 0.16, 0.05), (0, 0, 0.26), Material((0.35, 0.55, 0.2)), 1)]
    height, count, length = rng.uniform(0.55, 0.85), int(rng.integers(5, 10)), rng.uniform(0.16, 0.24)
    parts.append(tube([(0, 0, 0.25), (0.02, 0.0, height * 0.7), (0, 0, height + 0.1)], 0.03, green))
    for side in (-1, 1):
        blade = sphere((0.16, 0.06, 0.03), (0.15, 0, 0), green, 1).turned("y", -35)
        parts.append(blade.turned("z", 90 * side + 40).moved(z=0.35 + 0.06 * side))
    face, nod = [sphere((0.11, 0.11, 0.07), (0, 0, 0.02), Material((0.95, 0.75, 0.15)), 1)], rng.uniform(15, 65)
    for x, y, degrees in around(count, length):
        face.append(sphere((length * 0.75, length * 0.42, 0.03), (0, 0, 0), petal, 1).turned("z", degrees).moved(x, y))
    return [*parts, *(part.turned("x", nod).moved(z=height + 0.12) for part in face)]


def mushroom(rng: np.random.Generator) -> list[Part]:
    """A stalk under a domed cap with spots, alone or in a small group."""
    parts: list[Part] = []
    cap = paint(rng) if chance(rng, 0.4) else Material(hsv(rng.uniform(0.0, 0.08), 0.75, rng.uniform(0.5, 0.85)))
    spotted = chance(rng, 0.7)
    for k in range(int(rng.integers(1, 4))):
        scale = 1.0 if k == 0 else rng.uniform(0.4, 0.65)
        one = _one_mushroom(rng, cap, spotted)
        shift = (0.0, 0.0) if k == 0 else ((-1) ** k * rng.uniform(0.35, 0.45), rng.uniform(-0.2, 0.2))
        parts += [part.scaled(scale, scale, scale).turned("y", 8.0 * shift[0]).moved(*shift) for part in one]
    return parts


def _one_mushroom(rng: np.random.Generator, cap: Material, spotted: bool) -> list[Part]:
    stalk, height, width = pastel(rng), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.45)
    dome, thick = rng.uniform(0.2, 0.4), rng.uniform(0.08, 0.13)
    curve = [(width * np.cos(t), height + dome * np.sin(t)) for t in np.linspace(0, np.pi / 2, 7)]
    parts = [cylinder(thick * 1.3, height, (0, 0, 0), Material((0.93, 0.88, 0.78)), top=thick)]
    parts.append(lathe([(0, height + 0.02), (width * 0.6, height - 0.03), *curve], cap, 16))
    parts.append(_skirt(thick, height, stalk))
    if spotted:
        for ring, (count, t) in enumerate(((6, 0.45), (4, 0.95), (1, 1.55))):
            for x, y, _ in around(count, width * float(np.cos(t)), 30.0 * ring):
                parts.append(sphere(0.055, (x, y, height + dome * float(np.sin(t))), WHITE, 1))
    return parts


def _skirt(thick: float, height: float, material: Material) -> Part:
    """The thin ring on a stalk."""
    return lathe([(thick, height * 0.7), (thick * 1.7, height * 0.6)], material, 12)
