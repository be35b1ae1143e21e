"""Coloured building blocks. Their world: x right, y back, z up, any unit of length; objects are normalised later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import Polygon

from geotrap_cli.data.procedural.textures import Material

Vector = Sequence[float] | NDArray[np.floating]
AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Part:
    """A triangle mesh of one material.

    Attributes:
        vertices: Positions [n, 3].
        faces: Vertex indices [m, 3].
        texture: Where each vertex reads its texture [n, 3]: its position when the part was made.
        material: Colours.

    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    texture: NDArray[np.float64]
    material: Material

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
        """The part shifted."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def turned(self, axis: str, degrees: float, about: Vector = (0.0, 0.0, 0.0)) -> Part:
        """The part rotated counter-clockwise around "x", "y" or "z" through the point ``about``."""
        matrix = trimesh.transformations.rotation_matrix(np.radians(degrees), AXES[axis])[:3, :3]
        pivot = np.asarray(about, dtype=np.float64)
        return replace(self, vertices=(self.vertices - pivot) @ matrix.T + pivot)

    def scaled(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Part:
        """The part stretched about the origin. Factors are positive: surfaces must not turn inside out."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))


def make(vertices: ArrayLike, faces: ArrayLike, material: Material) -> Part:
    """A part from raw arrays, textured by its own positions."""
    points = np.array(vertices, dtype=np.float64)
    return Part(points, np.array(faces, dtype=np.int64), points, material)


@lru_cache(maxsize=256)
def _unit(shape: str, detail: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and faces of a unit shape; trimesh's constructors are slow enough to be worth keeping."""
    if shape == "box":
        mesh = trimesh.creation.box()
    elif shape == "sphere":
        mesh = trimesh.creation.icosphere(subdivisions=detail)
    else:
        mesh = trimesh.creation.cylinder(radius=1.0, height=1.0, sections=detail)
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)


def box(size: Vector, at: Vector, material: Material) -> Part:
    """A box of the given edge lengths whose *bottom* face is centred at ``at``."""
    vertices, faces = _unit("box")
    middle = np.asarray(at, dtype=np.float64) + np.array([0.0, 0.0, size[2] / 2.0])
    return make(vertices * np.asarray(size, dtype=np.float64) + middle, faces, material)


def sphere(radii: float | Vector, at: Vector, material: Material, detail: int = 2) -> Part:
    """An ellipsoid centred at ``at``; ``detail`` 1 is low-poly, 3 is smooth."""
    vertices, faces = _unit("sphere", detail)
    return make(vertices * np.broadcast_to(np.asarray(radii), (3,)) + np.asarray(at), faces, material)


def cylinder(
    radius: float, height: float, at: Vector, material: Material, top: float | None = None, sides: int = 14
) -> Part:
    """A cylinder or, with another ``top`` radius, a cone (stump) standing at ``at`` along z."""
    vertices, faces = _unit("cylinder", sides)
    upper = vertices[:, 2] > 0.0
    widths = np.where(upper, max(radius if top is None else top, 1e-4), radius)
    points = np.column_stack([vertices[:, :2] * widths[:, None], np.where(upper, height, 0.0)])
    return make(points + np.asarray(at, dtype=np.float64), faces, material)


def cone(radius: float, height: float, at: Vector, material: Material, sides: int = 14) -> Part:
    """A cone standing at ``at``."""
    return cylinder(radius, height, at, material, top=0.0, sides=sides)


def lathe(profile: Sequence[Vector], material: Material, sides: int = 18) -> Part:
    """The surface swept by ``profile``, (radius, z) pairs, once around the z axis. A profile may return inside."""
    mesh = trimesh.creation.revolve(np.asarray(profile, dtype=np.float64), sections=sides)
    return make(mesh.vertices, mesh.faces, material)


def torus(major: float, minor: float, at: Vector, material: Material, sides: int = 18) -> Part:
    """A ring lying flat, centred at ``at``."""
    angles = np.linspace(0.0, 2.0 * np.pi, 9)
    profile = np.column_stack([major + minor * np.cos(angles), minor * np.sin(angles)])
    return lathe(profile.tolist(), material, sides).moved(*at)


def extrude(
    outline: Sequence[Vector], depth: float, material: Material, holes: Sequence[Sequence[Vector]] = ()
) -> Part:
    """A flat outline in the x-z plane (front view) given a thickness along y, centred on y = 0."""
    mesh = trimesh.creation.extrude_polygon(Polygon(outline, holes).buffer(0), depth)
    points = np.asarray(mesh.vertices)
    upright = np.column_stack([points[:, 0], depth / 2.0 - points[:, 2], points[:, 1]])
    return make(upright, mesh.faces, material)


def tube(path: ArrayLike, radius: float | Sequence[float], material: Material, sides: int = 8) -> Part:
    """A round bar along the points ``path`` [k, 3]; ``radius`` may vary from point to point. Ends are closed."""
    points = np.asarray(path, dtype=np.float64)
    widths = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(points),))
    first, second = _frames(points)
    angles = 2.0 * np.pi * np.arange(sides) / sides
    circle = np.cos(angles)[None, :, None] * first[:, None] + np.sin(angles)[None, :, None] * second[:, None]
    skin = (points[:, None] + widths[:, None, None] * circle).reshape(-1, 3)
    vertices = np.concatenate([skin, points[:1], points[-1:]])
    return make(vertices, _tube_faces(len(points), sides), material)


def _frames(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two unit vectors square to the path at every point, carried along it without twist."""
    tangents = trimesh.util.unitize(np.gradient(points, axis=0))
    start = np.eye(3)[int(np.argmin(np.abs(tangents[0])))]
    first = np.empty_like(points)
    for index, tangent in enumerate(tangents):
        start = trimesh.util.unitize(start - tangent * float(start @ tangent))
        first[index] = start
    return first, np.cross(tangents, first)


def _tube_faces(rows: int, sides: int) -> NDArray[np.int64]:
    row, side = np.divmod(np.arange((rows - 1) * sides), sides)
    a, b = row * sides + side, row * sides + (side + 1) % sides
    c, d = a + sides, b + sides
    around = np.arange(sides)
    after = (around + 1) % sides
    last = (rows - 1) * sides
    caps = [
        np.column_stack([np.full(sides, rows * sides), after, around]),
        np.column_stack([np.full(sides, rows * sides + 1), last + around, last + after]),
    ]
    return np.concatenate([np.column_stack([a, b, d]), np.column_stack([a, d, c]), *caps])


def arc(radius: float, start: float, end: float, count: int = 9) -> NDArray[np.float64]:
    """Points [count, 2] on a circle around the origin, from ``start`` to ``end`` degrees."""
    angles = np.radians(np.linspace(start, end, count))
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def around(count: int, radius: float, start: float = 0.0) -> list[tuple[float, float, float]]:
    """``count`` points (x, y, degrees) evenly on a circle."""
    degrees = start + 360.0 * np.arange(count) / count
    return [(float(radius * np.cos(np.radians(d))), float(radius * np.sin(np.radians(d))), float(d)) for d in degrees]
