"""Ray-cast pictures of a mesh from the whole rig, with Embree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from geotrap_cli.data.rig import VIEWS, blender_poses, focal, ray_directions

SUPERSAMPLING = 2
AMBIENT, DIFFUSE = 0.6, 0.5
LIGHT = np.array([0.48, -0.36, 0.8]) / np.linalg.norm([0.48, -0.36, 0.8])

Floats = NDArray[np.float32]


class Surface(Protocol):
    """What can be seen: triangles with a colour at every point."""

    @property
    def triangles(self) -> Floats:
        """Corners of every face [m, 3, 3], z up, inside the bounding sphere of the rig."""
        ...

    def colours(self, faces: NDArray[np.int64], uv: Floats) -> Floats:
        """Unlit colours [n, 3] in 0..1 at points of faces [n], by the weights [n, 2] of their 2nd and 3rd corner."""
        ...


class _Hits:
    """What the rays of one view meet: flat pixel indices, faces, barycentric weights, points, ray directions."""

    def __init__(self, pixels: NDArray[np.int64], found: dict[str, NDArray], origin: Floats, rays: Floats) -> None:
        hit = np.flatnonzero(found["primID"] >= 0)
        self.pixels, self.directions = pixels[hit], rays[hit]
        self.faces = found["primID"][hit].astype(np.int64)
        self.uv = np.stack([found["u"][hit], found["v"][hit]], axis=1)
        self.points = origin + rays[hit] * found["tfar"][hit, None]


def render_views(surface: Surface, size: int) -> NDArray[np.uint8]:
    """RGBA pictures [24, size, size, 4], straight alpha, lit by a fixed light from above."""
    fine, normals = size * SUPERSAMPLING, _normals(surface.triangles)
    views = np.zeros((VIEWS, size, size, 4), dtype=np.uint8)
    for view, hits in enumerate(_cast(surface, fine)):
        samples = np.zeros((fine * fine, 4), dtype=np.float32)
        samples[hits.pixels, :3] = _shade(surface, normals, hits)
        samples[hits.pixels, 3] = 1.0
        views[view] = _averaged(samples, size)
    return views


def surface_points(surface: Surface, size: int) -> Floats:
    """Where rays through the pixel centres first meet the surface [24, size, size, 3], z up; NaN where they miss."""
    grid = np.full((VIEWS, size * size, 3), np.nan, dtype=np.float32)
    for view, hits in enumerate(_cast(surface, size)):
        grid[view, hits.pixels] = hits.points
    return grid.reshape(VIEWS, size, size, 3)


def _averaged(samples: Floats, size: int) -> NDArray[np.uint8]:
    """Pixels [size, size, 4] of their samples; colours are averaged over the samples that hit."""
    blocks = samples.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 4)
    total = np.zeros((size, size, 4), dtype=np.float32)
    for row, column in np.ndindex(SUPERSAMPLING, SUPERSAMPLING):
        total += blocks[:, row, :, column]
    colour = total[..., :3] / np.maximum(total[..., 3:], 1.0)
    alpha = total[..., 3:] / SUPERSAMPLING**2
    return np.rint(255.0 * np.concatenate([colour, alpha], axis=-1)).astype(np.uint8)


def _cast(surface: Surface, size: int) -> Iterator[_Hits]:
    """What the rays of each view meet."""
    scene = EmbreeScene()
    # The mesh registers itself with the scene and must outlive the queries.
    geometry = TriangleMesh(scene, surface.triangles)
    for pose in blender_poses():
        pixels = _candidates(surface.triangles, pose, size)
        origin = pose[:3, 3].astype(np.float32)
        rays = ray_directions(size, pose).reshape(-1, 3)[pixels]
        found = scene.run(np.tile(origin, (len(pixels), 1)), rays, output=1)
        yield _Hits(pixels, found, origin, rays)
    del geometry


def _candidates(triangles: Floats, pose: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Flat indices of the pixels inside the object's bounding rectangle."""
    local = (triangles.reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    image = size / 2.0 + focal(size) * local[:, :2] / -local[:, 2:] * np.array([1.0, -1.0])
    low = np.clip(np.floor(image.min(axis=0) - 0.5), 0, size).astype(int)
    high = np.clip(np.ceil(image.max(axis=0) + 0.5), 0, size).astype(int)
    grid = np.arange(size * size).reshape(size, size)
    return grid[low[1] : high[1], low[0] : high[0]].ravel()


def _normals(corners: Floats) -> Floats:
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    return normals


def _shade(surface: Surface, normals: Floats, hits: _Hits) -> Floats:
    """Lambert's law on flat faces; a face seen from behind is lit as if its normal were turned round."""
    facing = np.einsum("ij,ij->i", normals[hits.faces], hits.directions) < 0.0
    cosine = (normals @ LIGHT.astype(np.float32))[hits.faces]
    light = AMBIENT + DIFFUSE * np.maximum(np.where(facing, cosine, -cosine), 0.0)
    return np.minimum(surface.colours(hits.faces, hits.uv) * light[:, None], 1.0).astype(np.float32)
