"""Bottles, mugs, bowls, vases, barrels, buckets and teapots: mostly turned shapes."""

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
from geotrap_cli.data.procedural.primitives import Part, arc, around, box, cylinder, lathe, sphere, torus, tube
from geotrap_cli.data.procedural.textures import Material


def _sides(rng: np.random.Generator) -> int:
    return int(pick(rng, (8, 10, 12, 16, 20, 24)))


def bottle(rng: np.random.Generator) -> list[Part]:
    """Body, shoulder, neck, cap and mostly a label."""
    glass, sides = paint(rng), _sides(rng)
    width, body, neck = rng.uniform(0.13, 0.22), rng.uniform(0.4, 0.65), rng.uniform(0.12, 0.3)
    thin, shoulder = width * rng.uniform(0.28, 0.5), rng.uniform(0.06, 0.2)
    top = body + shoulder + neck
    outline = [(0, 0), (width, 0), (width, body), (width * 0.85, body + shoulder * 0.5), (thin, body + shoulder)]
    parts = [lathe([*outline, (thin, top), (0, top)], glass, sides)]
    parts.append(cylinder(thin * 1.25, rng.uniform(0.05, 0.1), (0, 0, top - 0.02), paint(rng), sides=sides))
    if chance(rng, 0.75):
        low, high = body * 0.2, body * 0.75
        label = decorated(rng, 0.6, 8.0) if chance(rng, 0.5) else WHITE
        parts.append(lathe([(width * 1.02, low), (width * 1.02, high)], label, sides))
    return parts


def _handle(radius: float, low: float, high: float, reach: float, thick: float, material: Material) -> Part:
    """A C-shaped handle on the +x side of a vessel of the given radius."""
    bend = arc(1.0, -90.0, 90.0)
    middle, half = (low + high) / 2, (high - low) / 2
    path = [(radius + reach * x, 0.0, middle + half * z) for x, z in bend]
    inside = radius * 0.85
    return tube([(inside, 0, low), *path, (inside, 0, high)], thick, material)


def _cup(radius: float, height: float, foot: float, wall: float, material: Material, sides: int) -> Part:
    """An open cup with a hollow inside."""
    inner = [(radius - wall, height), (max(foot - wall, 0.02), wall), (0, wall)]
    return lathe([(0, 0), (foot, 0), (radius, height), *inner], material, sides)


def mug(rng: np.random.Generator) -> list[Part]:
    """A cup with one handle, a band or pattern, at times something to drink."""
    clay, sides = decorated(rng, 0.55), _sides(rng)
    radius, height = rng.uniform(0.24, 0.36), rng.uniform(0.45, 0.75)
    foot = radius * rng.uniform(0.8, 1.05)
    handle = clay if chance(rng, 0.6) else paint(rng)
    parts = [_cup(radius, height, foot, 0.035, clay, sides)]
    reach, thick = rng.uniform(0.16, 0.26), rng.uniform(0.03, 0.055)
    parts.append(_handle(min(radius, foot), height * 0.2, height * 0.8, reach, thick, handle))
    if chance(rng, 0.5):
        parts.append(torus(radius - 0.015, 0.025, (0, 0, height), shaded(handle, 0.85), sides))
    drink = pick(rng, ((0.3, 0.17, 0.1), (0.85, 0.6, 0.2), (0.5, 0.7, 0.4)))
    return [*parts, cylinder(radius - 0.04, 0.01, (0, 0, height * 0.8), Material(drink), sides=sides)]


def bowl(rng: np.random.Generator) -> list[Part]:
    """A wide open bowl on a small foot, often with fruit in it."""
    clay, sides = decorated(rng, 0.5), _sides(rng)
    radius, height, foot = rng.uniform(0.4, 0.55), rng.uniform(0.2, 0.38), rng.uniform(0.14, 0.24)
    curve = [(foot + (radius - foot) * t**0.5, 0.04 + height * t**1.6) for t in np.linspace(0, 1, 7)]
    inside = [(r - 0.035, z + 0.02) for r, z in reversed(curve)]
    parts = [lathe([(0, 0), (foot, 0), *curve, *inside, (0, 0.06)], clay, sides)]
    if chance(rng, 0.6):
        fruit = paint(rng)
        for x, y, _ in around(int(rng.integers(3, 6)), radius * 0.42, rng.uniform(0, 90)):
            parts.append(sphere(rng.uniform(0.13, 0.17), (x, y, height * 0.8), fruit))
        parts.append(sphere(0.15, (0, 0, height * 1.05), paint(rng)))
    return parts


def vase(rng: np.random.Generator) -> list[Part]:
    """A curved body, narrow neck and flared lip; at times with flowers."""
    clay, sides = decorated(rng, 0.65), _sides(rng)
    belly, foot, neck = rng.uniform(0.22, 0.36), rng.uniform(0.1, 0.18), rng.uniform(0.07, 0.13)
    height, peak = rng.uniform(0.6, 0.95), rng.uniform(0.3, 0.6)
    heights = np.array([0.0, peak * 0.5, peak, (1 + peak) * 0.5, 0.9, 1.0]) * height
    widths = [foot, belly * 0.85, belly, belly * 0.65, neck, neck * rng.uniform(1.2, 2.0)]
    fine = np.linspace(0, height, 14)
    profile = list(zip(np.interp(fine, heights, widths), fine, strict=True))
    parts = [lathe([(0, 0), *profile, (neck * 0.8, height * 0.92), (0, height * 0.9)], clay, sides)]
    if chance(rng, 0.35):
        parts += _bunch(rng, height, neck)
    return parts


def _bunch(rng: np.random.Generator, base: float, neck: float) -> list[Part]:
    green, petals, parts = Material((0.25, 0.5, 0.22)), paint(rng), []
    for x, y, _ in around(int(rng.integers(3, 6)), 1.0, rng.uniform(0, 90)):
        tip = (x * 0.2, y * 0.2, base + rng.uniform(0.18, 0.35))
        parts += [tube([(x * neck * 0.4, y * neck * 0.4, base * 0.9), tip], 0.015, green, 5)]
        parts += [sphere(0.09, tip, petals, 1)]
    return parts


def barrel(rng: np.random.Generator) -> list[Part]:
    """A bulging body of staves with iron hoops, standing or lying."""
    body, hoop, sides = wood(rng), metal(rng), _sides(rng)
    end, belly, height = rng.uniform(0.25, 0.32), rng.uniform(0.36, 0.44), rng.uniform(0.75, 1.0)

    def width(t: float) -> float:
        return end + (belly - end) * (1.0 - (2.0 * t - 1.0) ** 2)

    curve = [(width(t), height * t) for t in np.linspace(0, 1, 9)]
    inner = [(end - 0.04, height), (end - 0.04, height - 0.04), (0, height - 0.04)]
    parts = [lathe([(0, 0), *curve, *inner], body, sides)]
    for t in pick(rng, ((0.12, 0.88), (0.1, 0.35, 0.65, 0.9), (0.25, 0.75))):
        low, high = t - 0.04, t + 0.04
        parts.append(lathe([(width(low) + 0.015, height * low), (width(high) + 0.015, height * high)], hoop, sides))
    if chance(rng, 0.25):
        rests = [box((0.9, 0.1, 0.12), (0, y, -belly - 0.05), shaded(body, 0.8)) for y in (-0.3, 0.3)]
        return [*(part.moved(z=-height / 2).turned("x", 90) for part in parts), *rests]
    return parts


def bucket(rng: np.random.Generator) -> list[Part]:
    """A flared pail with rim, bands and a wire handle up or folded aside."""
    body, sides = (wood(rng) if chance(rng, 0.4) else decorated(rng, 0.3)), _sides(rng)
    wire = metal(rng)
    radius, height = rng.uniform(0.32, 0.42), rng.uniform(0.5, 0.7)
    parts = [_cup(radius, height, radius * rng.uniform(0.6, 0.85), 0.03, body, sides)]
    parts.append(torus(radius - 0.01, 0.025, (0, 0, height), wire, sides))
    if chance(rng, 0.5):
        parts.append(cylinder(radius - 0.06, 0.01, (0, 0, height * 0.75), Material((0.25, 0.5, 0.75)), sides=sides))
    bow = [(x, 0.0, height + z) for x, z in arc(radius, 0.0, 180.0, 11)]
    handle = tube(bow, 0.02, wire, 6).turned("x", pick(rng, (0, 0, 25, 70)), (0, 0, height))
    return [*parts, handle]


def teapot(rng: np.random.Generator) -> list[Part]:
    """A round belly with spout, handle, lid and knob."""
    clay, sides = (decorated(rng, 0.45) if chance(rng, 0.8) else metal(rng)), _sides(rng)
    accent = shaded(clay, 0.75) if chance(rng, 0.5) else paint(rng)
    belly, squash = 0.36, rng.uniform(0.7, 1.05)
    height = 2 * belly * squash
    parts = [sphere((belly, belly, belly * squash), (0, 0, height / 2), clay, 3 if sides > 12 else 2)]
    parts.append(cylinder(belly * 0.55, 0.04, (0, 0, 0), accent, sides=sides))
    parts.append(
        lathe([(belly * 0.55, height * 0.93), (belly * 0.4, height + 0.04), (0, height + 0.07)], accent, sides)
    )
    parts.append(sphere(0.06, (0, 0, height + 0.11), accent, 1))
    spout = [(-belly * 0.8, 0, height * 0.35), (-belly * 1.25, 0, height * 0.5), (-belly * 1.6, 0, height * 0.9)]
    parts.append(tube(spout, [0.1, 0.07, 0.045], clay))
    if chance(rng, 0.7):
        parts.append(_handle(belly * 0.9, height * 0.25, height * 0.8, 0.22, 0.04, accent))
    else:
        bow = [(x, 0.0, height * 0.75 + 1.2 * z) for x, z in arc(belly * 0.95, 10.0, 170.0, 11)]
        parts.append(tube(bow, 0.035, accent))
    return parts


def watering_can(rng: np.random.Generator) -> list[Part]:
    """A can with a long spout that ends in a rose, and a bow handle."""
    body, sides = (metal(rng) if chance(rng, 0.4) else paint(rng)), _sides(rng)
    accent = pastel(rng) if chance(rng, 0.5) else shaded(body, 0.75)
    radius, height = rng.uniform(0.26, 0.32), rng.uniform(0.42, 0.55)
    parts = [cylinder(radius, height, (0, 0, 0), body, top=radius * rng.uniform(0.75, 1.0), sides=sides)]
    parts += [torus(radius, 0.025, (0, 0, z), accent, sides) for z in (0.03,)]
    tip = (-radius - 0.42, 0.0, height + 0.08)
    parts += [tube([(-radius * 0.8, 0, 0.12), tip], [0.06, 0.035], body)]
    parts += [tube([tip, (tip[0] - 0.07, 0, tip[2] + 0.06)], [0.04, 0.11], accent, 10)]
    parts += [_handle(radius * 0.9, height * 0.25, height * 1.05, 0.26, 0.03, accent)]
    return [*parts, cylinder(radius * 0.6, 0.01, (0, 0, height), DARK, sides=sides)]
