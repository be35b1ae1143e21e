"""Cars, trucks, trains, boats, aeroplanes and rockets. Forward is -y unless said otherwise."""

from __future__ import annotations

import numpy as np

from geotrap_cli.data.procedural.palettes import (
    BLACK_RUBBER,
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
from geotrap_cli.data.procedural.primitives import (
    Part,
    around,
    box,
    cone,
    cylinder,
    extrude,
    lathe,
    make,
    sphere,
    tube,
)
from geotrap_cli.data.procedural.textures import Material

GLASS = Material((0.5, 0.72, 0.85))


def wheel(radius: float, width: float, at: tuple[float, float, float], hub: Material) -> list[Part]:
    """A tyre with a hub, its axle along y, centred at ``at``."""
    tyre = cylinder(radius, width, (0, 0, -width / 2), BLACK_RUBBER, sides=14).turned("x", 90)
    cap = cylinder(radius * 0.5, width * 1.15, (0, 0, -width * 0.575), hub, sides=8).turned("x", 90)
    return [tyre.moved(*at), cap.moved(*at)]


def _wheels(xs: tuple[float, ...], half: float, radius: float, hub: Material) -> list[Part]:
    return [part for x in xs for side in (-1, 1) for part in wheel(radius, 0.1, (x, side * half, radius), hub)]


def car(rng: np.random.Generator) -> list[Part]:
    """A side outline given a width: saloon, van or beetle; wheels, windows and lights. Forward is -x."""
    body, hub = paint(rng), metal(rng)
    width, length, radius = rng.uniform(0.45, 0.58), rng.uniform(1.05, 1.3), rng.uniform(0.11, 0.15)
    half, belt, roof = length / 2, rng.uniform(0.3, 0.38), rng.uniform(0.55, 0.72)
    front, rear = -half * rng.uniform(0.25, 0.7), half * rng.uniform(0.5, 0.95)
    lower = [
        (-half, 0.12),
        (half, 0.12),
        (half, belt),
        (half * 0.97, belt + 0.02),
        (-half * 0.95, belt),
        (-half, belt - 0.08),
    ]
    parts = [extrude(lower, width, body)]
    cabin = [(front, belt), (rear, belt), (rear * 0.88, roof), (front + 0.2, roof)]
    parts.append(extrude(cabin, width * 0.9, GLASS))
    top = shaded(body, 1.0) if chance(rng, 0.7) else WHITE
    parts.append(box((rear * 0.88 - front - 0.18, width * 0.92, 0.04), ((rear * 0.88 + front + 0.2) / 2, 0, roof), top))
    pillar = (rear + front) / 2 + 0.05
    parts.append(box((0.06, width * 0.93, roof - belt), (pillar, 0, belt), body))
    parts += _wheels((-half * 0.6, half * 0.6), width / 2, radius, hub)
    for side in (-1, 1):
        parts.append(box((0.03, 0.1, 0.07), (-half, side * width * 0.34, belt - 0.14), Material((1.0, 0.95, 0.7))))
        parts.append(box((0.03, 0.1, 0.06), (half, side * width * 0.34, belt - 0.12), Material((0.8, 0.1, 0.1))))
    return [*parts, box((0.06, width, 0.06), (-half, 0, 0.12), DARK), box((0.06, width, 0.06), (half, 0, 0.12), DARK)]


def truck(rng: np.random.Generator) -> list[Part]:
    """A cab in front of a box, a tank or an open bed with a load. Forward is -x."""
    cab, load, hub = paint(rng), decorated(rng, 0.5, 4.0), metal(rng)
    width, radius, length = rng.uniform(0.4, 0.5), rng.uniform(0.11, 0.14), rng.uniform(0.65, 0.95)
    parts = [box((length + 0.5, width * 0.7, 0.08), (length / 2 - 0.1, 0, radius), DARK)]
    outline = [(-0.35, 0.12), (0.03, 0.12), (0.03, 0.62), (-0.22, 0.62), (-0.35, 0.38)]
    parts.append(extrude(outline, width, cab))
    parts.append(extrude([(-0.33, 0.4), (-0.05, 0.4), (-0.05, 0.58), (-0.23, 0.58)], width + 0.02, GLASS))
    style, middle = pick(rng, ("box", "tank", "bed")), length / 2 + 0.07
    if style == "box":
        parts.append(box((length, width * 1.08, rng.uniform(0.5, 0.68)), (middle, 0, 0.24), load))
    elif style == "tank":
        tank = cylinder(0.25, length, (0, 0, -length / 2), load, sides=14).turned("y", 90)
        parts.append(tank.moved(x=middle, z=0.46))
    else:
        parts += [box((length, 0.04, 0.2), (middle, s * width * 0.5, 0.22), cab) for s in (-1, 1)]
        parts += [box((0.04, width, 0.2), (middle + s * length / 2, 0, 0.22), cab) for s in (-1, 1)]
        parts.append(box((length, width, 0.05), (middle, 0, 0.2), cab))
        parts.append(sphere((length * 0.42, width * 0.42, 0.2), (middle, 0, 0.28), wood(rng), 1))
    return [*parts, *_wheels((-0.17, length * 0.5, length * 0.85), width / 2, radius, hub)]


def train(rng: np.random.Generator) -> list[Part]:
    """A steam engine: boiler, funnel, cab, cowcatcher and wheels. Forward is -x."""
    boiler, cab, trim = paint(rng), paint(rng), metal(rng)
    length, radius = rng.uniform(0.6, 0.8), rng.uniform(0.18, 0.23)
    parts = [box((length + 0.4, 0.42, 0.1), (0.12, 0, 0.16), DARK)]
    drum = cylinder(radius, length, (0, 0, -length / 2), boiler, sides=16).turned("y", 90)
    parts.append(drum.moved(x=-0.05, z=0.26 + radius))
    for x in (-0.25, 0.05):
        band = cylinder(radius + 0.015, 0.04, (0, 0, -0.02), trim, sides=16).turned("y", 90)
        parts.append(band.moved(x=x, z=0.26 + radius))
    high = 0.26 + 2 * radius
    parts.append(cylinder(0.05, 0.2, (-length * 0.35, 0, high - 0.04), DARK, top=rng.uniform(0.06, 0.12)))
    parts.append(sphere((0.07, 0.07, 0.08), (0.0, 0, high), trim, 2))
    rear = length / 2 + 0.1
    parts.append(box((0.34, 0.44, 0.5), (rear, 0, 0.26), cab))
    parts.append(box((0.2, 0.46, 0.16), (rear, 0, 0.52), GLASS))
    parts.append(box((0.44, 0.52, 0.05), (rear, 0, 0.76), shaded(cab, 0.7)))
    wedge = [(-0.13, 0.0), (0.04, 0.0), (0.04, 0.15)]
    parts.append(extrude(wedge, 0.32, DARK).moved(x=-length / 2 - 0.06, z=0.03))
    return [*parts, *_wheels((-0.28, -0.02, 0.24, 0.44), 0.22, 0.11, paint(rng))]


def _hull(length: float, width: float, depth: float, material: Material) -> Part:
    """A boat's hull, bow at -x, pointed at one end and cut off at the other, deck at z = depth."""
    stations = np.linspace(0.0, 1.0, 9)
    widths = width / 2 * np.sqrt(np.clip(1.0 - (1.0 - stations / 0.55).clip(0, 1) ** 2, 0.003, 1.0))
    x, rise = (stations - 0.5) * length, 0.12 * (1.0 - stations) ** 2
    rows = []
    for k in range(len(stations)):
        half, z = widths[k], depth + rise[k]
        keel = (x[k] + 0.12 * (1 - stations[k]), 0.0, 0.5 * rise[k])
        rows.append(
            [
                (x[k], -half, z),
                (x[k], -half * 0.7, depth * 0.35),
                keel,
                (x[k], half * 0.7, depth * 0.35),
                (x[k], half, z),
            ]
        )
    points = np.array(rows).reshape(-1, 3)
    faces = []
    for k in range(len(stations) - 1):
        for j in range(5):
            a, b = 5 * k + j, 5 * k + (j + 1) % 5
            faces += [(a, b, b + 5), (a, b + 5, a + 5)]
    last = 5 * (len(stations) - 1)
    faces += [(last, last + 1, last + 2), (last, last + 2, last + 4), (last + 2, last + 3, last + 4)]
    return make(points, faces, material)


def boat(rng: np.random.Generator) -> list[Part]:
    """A hull with a mast and sails, or with a cabin and a funnel."""
    hull = Material(paint(rng).colour, WHITE.colour, "bands", rng.uniform(1.2, 2.0), 2)
    length, width = rng.uniform(1.0, 1.3), rng.uniform(0.36, 0.5)
    parts = [_hull(length, width, 0.24, hull)]
    if chance(rng, 0.55):
        sail, high = (WHITE if chance(rng, 0.5) else decorated(rng, 0.6, 4.0)), rng.uniform(0.8, 1.15)
        parts.append(cylinder(0.025, high + 0.1, (0, 0, 0.2), wood(rng), sides=8))
        main = [(0.03, 0.38), (length * 0.42, 0.4), (0.03, high + 0.2)]
        jib = [(-0.04, high * 0.9 + 0.2), (-0.04, 0.38), (-length * 0.42, 0.4)]
        swing = rng.uniform(-18, 18)
        parts += [extrude(main, 0.02, sail).turned("z", swing), extrude(jib, 0.02, sail).turned("z", -swing)]
        return [*parts, extrude([(0, 0.3 + high), (0.16, 0.26 + high), (0, 0.22 + high)], 0.015, paint(rng))]
    cabin = pastel(rng)
    parts.append(box((length * 0.42, width * 0.62, 0.2), (0.1, 0, 0.24), cabin))
    parts.append(box((length * 0.3, width * 0.64, 0.08), (0.1, 0, 0.32), GLASS))
    parts.append(box((length * 0.26, width * 0.5, 0.14), (0.06, 0, 0.44), cabin))
    for k in range(int(rng.integers(1, 4))):
        funnel = Material(paint(rng).colour, DARK.colour, "bands", 1.4, 2)
        parts.append(cylinder(0.06, 0.26, (0.2 - 0.16 * k, 0, 0.5), funnel, sides=10))
    return parts


def airplane(rng: np.random.Generator) -> list[Part]:
    """Fuselage, wings, tail and propeller or jet engines. Forward is -x."""
    body = paint(rng) if chance(rng, 0.6) else WHITE
    accent, jet = paint(rng), chance(rng, 0.45)
    length, radius = rng.uniform(1.1, 1.4), rng.uniform(0.1, 0.15)
    half = length / 2
    spine = [(-half, 0, 0), (-half * 0.88, 0, 0), (-half * 0.4, 0, 0), (half * 0.4, 0, 0.02), (half, 0, 0.06)]
    parts = [tube(spine, [radius * 0.4, radius * 0.85, radius, radius * 0.9, radius * 0.25], body, 12)]
    span, chord, sweep = rng.uniform(0.55, 0.75), rng.uniform(0.24, 0.34), rng.uniform(0.2, 0.4) if jet else 0.04
    biplane = not jet and chance(rng, 0.35)
    levels = (-0.03, 0.28) if biplane else (pick(rng, (-0.05, 0.02, radius)),)
    parts += [_wing(span, chord, sweep, accent).moved(x=-0.15, z=level) for level in levels]
    if len(levels) == 2:
        parts += [cylinder(0.015, 0.31, (-0.05, s * span * 0.6, -0.03), DARK, sides=6) for s in (-1, 1)]
    parts.append(_wing(span * 0.4, chord * 0.55, sweep * 0.5, accent).moved(x=half * 0.78, z=0.08))
    fin = [(half * 0.65, 0.05), (half, 0.05), (half * 1.05, 0.34), (half * 0.9, 0.34)]
    parts.append(extrude(fin, 0.03, accent))
    parts.append(sphere((0.16, radius * 0.75, 0.1), (-half * 0.45, 0, radius * 0.85), GLASS, 2))
    return [*parts, *(_jets(span, radius, levels[0], metal(rng)) if jet else _propeller(half, metal(rng)))]


def _wing(span: float, chord: float, sweep: float, material: Material) -> Part:
    tip = chord * 0.55
    outline = [(0, 0), (sweep, span), (sweep + tip, span), (chord, 0), (sweep + tip, -span), (sweep, -span)]
    return extrude(outline, 0.035, material).turned("x", -90)


def _jets(span: float, radius: float, level: float, material: Material) -> list[Part]:
    pods = [cylinder(radius * 0.5, 0.24, (0, 0, -0.12), material, sides=10).turned("y", 90) for _ in range(2)]
    return [
        pod.moved(x=0.0, y=side * span * 0.4, z=level - radius * 0.45) for pod, side in zip(pods, (-1, 1), strict=True)
    ]


def _propeller(half: float, material: Material) -> list[Part]:
    nose = cone(0.06, 0.12, (0, 0, 0), material, 10).turned("y", -90).moved(x=-half)
    blades = [box((0.02, 0.05, 0.46), (-half - 0.04, 0, -0.23), DARK).turned("x", angle) for angle in (20, 110)]
    legs = [tube([(-half * 0.4, 0, 0), (-half * 0.4, s * 0.16, -0.22)], 0.02, DARK, 6) for s in (-1, 1)]
    tyres = [part for s in (-1, 1) for part in wheel(0.06, 0.04, (-half * 0.4, s * 0.16, -0.24), material)]
    return [nose, *blades, *legs, *tyres]


def rocket(rng: np.random.Generator) -> list[Part]:
    """A toy rocket: pointed hull with a porthole, fins and a nozzle."""
    hull = decorated(rng, 0.5, 3.0) if chance(rng, 0.6) else WHITE
    accent, height, radius = paint(rng), rng.uniform(0.8, 1.15), rng.uniform(0.17, 0.24)
    shape = [(0.75, 0.0), (1.0, 0.25), (1.0, 0.5), (0.85, 0.72)]
    parts = [lathe([(0, 0), *((radius * r, height * z) for r, z in shape)], hull, 16)]
    nose = [(radius * r, height * z) for r, z in ((0.85, 0.72), (0.5, 0.88), (0.0, 1.0))]
    parts.append(lathe(nose, accent, 16))
    parts.append(cylinder(radius * 0.5, 0.1, (0, 0, -0.09), DARK, top=radius * 0.35))
    fin = [(radius * 0.6, 0.3), (radius * 0.6, 0.0), (radius * 1.9, -0.16), (radius * 1.9, 0.04)]
    count = int(rng.integers(3, 6))
    parts += [extrude(fin, 0.04, accent).turned("z", degrees) for _, _, degrees in around(count, 1.0)]
    for z in (0.55, 0.36)[: int(rng.integers(1, 3))]:
        window = cylinder(radius * 0.38, 0.06, (0, 0, 0), GLASS, sides=12).turned("x", 90)
        parts.append(window.moved(y=-radius * 0.93, z=height * z))
    return parts
