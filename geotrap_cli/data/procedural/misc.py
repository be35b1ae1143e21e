"""Books, candles, umbrellas, guitars, clocks, signs, cakes of soap and other things found in a house."""

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
    steel,
    stone,
    wood,
)
from geotrap_cli.data.procedural.primitives import (
    Part,
    around,
    box,
    cone,
    cylinder,
    extrude,
    lathe,
    sphere,
    torus,
    tube,
)
from geotrap_cli.data.procedural.textures import Material


def book(rng: np.random.Generator) -> list[Part]:
    """A closed book lying or standing, a pile of books, or an open one."""
    style = pick(rng, ("closed", "standing", "pile", "open"))
    if style == "open":
        return _open_book(rng)
    count, parts, z = (int(rng.integers(2, 6)) if style == "pile" else 1), [], 0.0
    for _ in range(count):
        thick = rng.uniform(0.09, 0.18) if count > 1 else rng.uniform(0.14, 0.28)
        volume = _closed_book(rng, rng.uniform(0.6, 0.75), rng.uniform(0.45, 0.55), thick)
        yaw = rng.uniform(-25, 25) if count > 1 else 0.0
        parts += [part.turned("z", yaw).moved(z=z) for part in volume]
        z += thick
    return [part.turned("x", 90) for part in parts] if style == "standing" else parts


def _closed_book(rng: np.random.Generator, long: float, wide: float, thick: float) -> list[Part]:
    cover = decorated(rng, 0.35)
    boards = [box((wide, long, 0.02), (0, 0, z), cover) for z in (0.0, thick - 0.02)]
    spine = box((0.03, long, thick), (-wide / 2, 0, 0), cover)
    pages = box((wide - 0.05, long - 0.06, thick - 0.03), (-0.01, 0, 0.015), WHITE)
    plate = box((wide * 0.5, long * 0.2, 0.012), (0, long * 0.2, thick - 0.004), pastel(rng))
    bands = [box((0.04, 0.03, thick * 1.02), (-wide / 2, y, 0), shaded(cover, 0.6)) for y in (-long * 0.3, long * 0.3)]
    return [*boards, spine, pages, plate, *bands]


def _open_book(rng: np.random.Generator) -> list[Part]:
    cover, ink = paint(rng), Material((0.45, 0.43, 0.42))
    long, wide, angle = rng.uniform(0.6, 0.75), rng.uniform(0.42, 0.5), rng.uniform(8, 35)
    parts = []
    for side in (-1, 1):
        half = [box((wide, long, 0.025), (side * wide / 2, 0, 0), cover)]
        half.append(box((wide * 0.95, long * 0.94, 0.07), (side * wide * 0.48, 0, 0.025), WHITE))
        lines = [(side * wide * 0.5, long * (0.32 - 0.12 * k), 0.095) for k in range(6)]
        half += [box((wide * 0.7, 0.025, 0.004), line, ink) for line in lines]
        parts += [part.turned("y", -side * angle) for part in half]
    return parts


def candle(rng: np.random.Generator) -> list[Part]:
    """One or several candles with flames, on a dish or a branched stand."""
    holder = metal(rng)
    if chance(rng, 0.4):
        return _candelabrum(rng, holder)
    parts = [lathe([(0, 0), (0.3, 0), (0.36, 0.07), (0.33, 0.07), (0.28, 0.03), (0, 0.03)], holder, 16)]
    if chance(rng, 0.6):
        parts.append(torus(0.09, 0.025, (0.42, 0, 0.06), holder).turned("x", 90, (0.42, 0, 0.06)))
    count = int(rng.integers(1, 4))
    for x, y, _ in around(count, 0.0 if count == 1 else 0.16, rng.uniform(0, 90)):
        parts += _taper(rng, (x, y, 0.03), rng.uniform(0.08, 0.12), rng.uniform(0.25, 0.75))
    return parts


def _taper(rng: np.random.Generator, at: tuple[float, float, float], radius: float, height: float) -> list[Part]:
    x, y, z = at
    wax = pastel(rng) if chance(rng, 0.7) else paint(rng)
    flame = sphere((0.045, 0.045, 0.09), (x, y, z + height + 0.13), Material((1.0, 0.75, 0.2)), 1)
    wick = cylinder(0.012, 0.08, (x, y, z + height), DARK, sides=6)
    return [cylinder(radius, height, at, wax, top=radius * 0.92, sides=12), wick, flame]


def _candelabrum(rng: np.random.Generator, holder: Material) -> list[Part]:
    height, reach = rng.uniform(0.4, 0.6), rng.uniform(0.28, 0.38)
    parts = [cylinder(0.22, 0.05, (0, 0, 0), holder, top=0.12), cylinder(0.03, height, (0, 0, 0), holder, sides=8)]
    parts += [cylinder(0.07, 0.04, (0, 0, height), holder), *_taper(rng, (0, 0, height), 0.04, 0.25)]
    for x, y, _ in around(int(rng.integers(2, 5)), reach):
        bend = [(0, 0, height * 0.6), (x * 0.6, y * 0.6, height * 0.5), (x, y, height * 0.65), (x, y, height * 0.8)]
        parts += [tube(bend, 0.025, holder), cylinder(0.07, 0.04, (x, y, height * 0.8), holder)]
        parts += _taper(rng, (x, y, height * 0.8), 0.04, 0.25)
    return parts


def umbrella(rng: np.random.Generator) -> list[Part]:
    """An open umbrella with coloured panels, ribs and a hooked handle, or a sunshade on a foot."""
    count, first, second = int(rng.integers(3, 7)) * 2, paint(rng), (WHITE if chance(rng, 0.4) else paint(rng))
    radius, dome, length = rng.uniform(0.55, 0.68), rng.uniform(0.2, 0.36), rng.uniform(0.8, 1.05)
    parts = [tube([(0, 0, 0.1), (0, 0, length + 0.09)], 0.022, DARK, 6)]
    curve = [(radius * np.sin(t), length - dome + dome * np.cos(t)) for t in np.linspace(0.02, np.pi / 2, 5)]
    canopy = lathe(curve, first, count)
    tones = canopy.vertices[canopy.faces].mean(axis=1)
    odd = np.floor((np.arctan2(tones[:, 1], tones[:, 0]) / (2 * np.pi)) * count).astype(int) % 2 == 1
    for material, chosen in ((first, ~odd), (second, odd)):
        parts.append(Part(canopy.vertices, canopy.faces[chosen], canopy.texture, material))
    if chance(rng, 0.65):
        hook = [(0.08 - 0.08 * np.cos(t), 0.0, 0.1 - 0.09 * np.sin(t)) for t in np.linspace(0, np.pi, 8)]
        return [*parts, tube(hook, 0.033, wood(rng))]
    return [*parts, cylinder(0.024, 0.12, (0, 0, 0), DARK), cylinder(0.2, 0.06, (0, 0, 0), stone(rng), top=0.15)]


def guitar(rng: np.random.Generator) -> list[Part]:
    """A waisted body with sound hole, neck with frets, head and pegs. Neck up."""
    body, neck = (wood(rng, 1) if chance(rng, 0.65) else paint(rng)), shaded(wood(rng), 0.6)
    scale, waist = rng.uniform(0.26, 0.32), rng.uniform(0.62, 0.8)
    t = np.linspace(0, 2 * np.pi, 29)[:-1]
    width = scale * (1.0 - 0.12 * np.sin(t) - (1 - waist) * np.exp(-((np.sin(t) - 0.25) ** 2) / 0.08))
    outline = np.column_stack([width * np.cos(t) * 1.15, 0.42 + 0.42 * np.sin(t)])
    depth, length = rng.uniform(0.1, 0.16), rng.uniform(0.5, 0.65)
    parts = [extrude(outline.tolist(), depth, body)]
    front, top = -depth / 2, 0.82 + length
    parts.append(cylinder(0.09, 0.012, (0, 0, 0), DARK, sides=16).turned("x", 90).moved(y=front + 0.001, z=0.55))
    parts.append(box((0.2, 0.03, 0.04), (0, front - 0.005, 0.24), DARK))
    parts.append(box((0.075, 0.05, length + 0.12), (0, front - 0.01, 0.7), neck))
    parts += [box((0.078, 0.012, 0.012), (0, front - 0.034, 0.86 + 0.11 * k), steel(rng)) for k in range(5)]
    parts.append(box((0.13, 0.04, 0.2), (0, front, top), body if chance(rng, 0.5) else neck))
    parts.append(box((0.05, 0.006, top - 0.24), (0, front - 0.04, 0.26), Material((0.85, 0.83, 0.75))))
    for side in (-1, 1):
        parts += [sphere((0.035, 0.02, 0.025), (side * 0.09, front, top + z), WHITE, 1) for z in (0.05, 0.1, 0.15)]
    return parts


def clock(rng: np.random.Generator) -> list[Part]:
    """A round alarm clock with bells, or a tall case with a pendulum. The face looks to -y."""
    case, face = (paint(rng) if chance(rng, 0.6) else wood(rng)), (WHITE if chance(rng, 0.7) else pastel(rng))
    hour, minute, radius = rng.uniform(0, 360), rng.uniform(0, 360), rng.uniform(0.3, 0.38)
    dial = _dial(radius, face, hour, minute)
    if chance(rng, 0.6):
        depth = rng.uniform(0.14, 0.24)
        drum = cylinder(radius * 1.12, depth, (0, 0, -depth), case, sides=20).turned("x", 90).moved(y=-depth)
        parts = [drum, *(part.moved(y=-depth) for part in dial)]
        for side in (-1, 1):
            parts.append(tube([(side * 0.2, 0, -0.25), (side * 0.28, 0, -radius * 1.3)], 0.035, metal(rng)))
            bell = sphere((0.13, 0.13, 0.1), (0, 0, radius * 1.2), metal(rng), 2).turned("y", side * 35)
            parts += [bell] if chance(rng, 0.9) else []
        return parts
    width, tall = radius * 2.5, rng.uniform(1.4, 1.9)
    parts = [box((width, 0.3, radius * 2.5), (0, 0.16, -radius * 1.25), case), *dial]
    parts += [box((width * 0.75, 0.26, tall), (0, 0.16, -tall), case), box((width, 0.3, 0.16), (0, 0.16, -tall), case)]
    parts.append(extrude([(-width * 0.55, 0), (width * 0.55, 0), (0, 0.25)], 0.32, case).moved(y=0.16, z=radius * 1.2))
    brass = Material((0.9, 0.72, 0.3))
    parts.append(box((0.03, 0.02, tall * 0.4), (0, 0.02, -tall * 0.75), brass))
    return [*parts, cylinder(0.1, 0.03, (0, 0, 0), brass).turned("x", 90).moved(y=0.03, z=-tall * 0.75)]


def _dial(radius: float, face: Material, hour: float, minute: float) -> list[Part]:
    """A clock face in the plane y = 0 around the origin, with twelve marks and two hands."""
    parts = [cylinder(radius, 0.02, (0, 0, 0), face, sides=20).turned("x", 90)]
    for x, z, degrees in around(12, radius * 0.83):
        mark = box((0.07, 0.02, 0.025), (0, 0, -0.0125), DARK).turned("y", -degrees)
        parts.append(mark.moved(x=x, y=-0.02, z=z))
    parts.append(box((0.035, 0.02, radius * 0.75), (0, -0.03, 0), DARK).turned("y", minute))
    return [*parts, box((0.045, 0.02, radius * 0.5), (0, -0.03, 0), Material((0.75, 0.12, 0.1))).turned("y", hour)]


def sign(rng: np.random.Generator) -> list[Part]:
    """A post with arrow boards, or a round, square or triangular road sign."""
    post, height = (wood(rng) if chance(rng, 0.5) else metal(rng)), rng.uniform(0.85, 1.2)
    parts = [cylinder(0.04, height, (0, 0, 0), post, sides=8)]
    if chance(rng, 0.45):
        for k in range(int(rng.integers(1, 4))):
            side, long, z = pick(rng, (-1, 1)), rng.uniform(0.5, 0.7), height - 0.24 - 0.24 * k
            outline = [(-0.2, 0), (long - 0.3, 0), (long - 0.2, 0.09), (long - 0.3, 0.18), (-0.2, 0.18)]
            board = extrude([(side * x, h) for x, h in outline], 0.04, wood(rng, 1) if chance(rng, 0.6) else paint(rng))
            parts.append(board.turned("z", rng.uniform(-25, 25)).moved(y=-0.05, z=z))
        return [*parts, cone(0.25, 0.08, (0, 0, 0), stone(rng), 8)]
    sides, turn = pick(rng, ((3, 90), (4, 45), (4, 0), (8, 22.5), (20, 0)))
    rim, inside = paint(rng), WHITE if chance(rng, 0.6) else pastel(rng)
    for size, material, y in ((0.34, rim, -0.06), (0.25, inside, -0.075)):
        corners = [(size * np.cos(a), size * np.sin(a)) for a in np.radians(turn + 360.0 * np.arange(sides) / sides)]
        parts.append(extrude(corners, 0.03, material).moved(y=y, z=height))
    mark = box((0.28, 0.03, 0.08), (0, -0.09, height - 0.04), DARK).turned("y", pick(rng, (0, 45, 90)), (0, 0, height))
    return [*parts, mark, cylinder(0.2, 0.04, (0, 0, 0), stone(rng))]


def shoe(rng: np.random.Generator) -> list[Part]:
    """A boot or a low shoe with sole, laces and an opening. The toe points to -x."""
    leather, sole = (paint(rng) if chance(rng, 0.6) else wood(rng)), (WHITE if chance(rng, 0.5) else DARK)
    length, high, width = rng.uniform(0.8, 0.95), rng.uniform(0.28, 0.75), rng.uniform(0.15, 0.19)
    toe, heel = -length * 0.55, length * 0.4
    parts = [
        sphere((0.26, width, 0.15), (toe + 0.2, 0, 0.13), leather),
        sphere((0.2, width, 0.2), (heel - 0.15, 0, 0.16), leather),
    ]
    parts.append(tube([(toe + 0.2, 0, 0.16), (heel - 0.15, 0, 0.18)], [0.14, 0.17], leather, 10))
    shaft = lathe([(0.16, 0.1), (0.165, high), (0.12, high), (0.11, 0.2), (0, 0.2)], leather, 12).scaled(x=1.15)
    parts.append(shaft.moved(x=heel - 0.16))
    parts.append(torus(0.15, 0.03, (0, 0, high), shaded(leather, 0.7), 12).scaled(x=1.15).moved(x=heel - 0.16))
    flat = [(toe + 0.22 - 0.28 * np.cos(a), 0.19 * np.sin(a)) for a in np.linspace(-np.pi / 2, np.pi / 2, 7)]
    back = [(heel - 0.15 + 0.2 * np.cos(a), 0.18 * np.sin(a)) for a in np.linspace(np.pi / 2, -np.pi / 2, 7)]
    parts.append(extrude([*flat, *back], 0.08, sole).turned("x", -90).moved(z=0.02))
    lace = WHITE if sole is DARK else DARK
    parts += [box((0.03, 0.2, 0.03), (toe + 0.36 + 0.09 * k, 0, 0.27 + 0.03 * k), lace) for k in range(3)]
    return parts
