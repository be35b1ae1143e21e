"""Ray-cast pictures of an object from the whole rig at once, with Embree."""

from __future__ import annotations

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from geotrap_cli.data.procedural.assembly import ObjectMesh
from geotrap_cli.data.procedural.rig import VIEWS, blender_poses, focal, ray_directions

SUPERSAMPLING = 2
AMBIENT, DIFFUSE = 0.6, 0.5
LIGHT = np.array([0.48, -0.36, 0.8]) / np.linalg.norm([0.48, -0.36, 0.8])

Floats = NDArray[np.float32]


def render_views(mesh: ObjectMesh, size: int) -> NDArray[np.uint8]:
    """RGBA pictures [24, size, size, 4], straight alpha, lit by a fixed light from above."""
    fine = size * SUPERSAMPLING
    pixels, faces, barycentric, _ = _cast(mesh, fine)
    samples = np.zeros((VIEWS * fine * fine, 4), dtype=np.float32)
    samples[pixels, :3] = _shade(mesh, pixels, faces, barycentric, fine)
    samples[pixels, 3] = 1.0
    blocks = samples.reshape(VIEWS, size, SUPERSAMPLING, size, SUPERSAMPLING, 4)
    total = np.zeros((VIEWS, size, size, 4), dtype=np.float32)
    for row, column in np.ndindex(SUPERSAMPLING, SUPERSAMPLING):
        total += blocks[:, :, row, :, column]
    colour = total[..., :3] / np.maximum(total[..., 3:], 1.0)
    alpha = total[..., 3:] / SUPERSAMPLING**2
    return np.rint(255.0 * np.concatenate([colour, alpha], axis=-1)).astype(np.uint8)


def surface_points(mesh: ObjectMesh, size: int) -> Floats:
    """Where rays through the pixel centres first meet the surface [24, size, size, 3], z up; NaN where they miss."""
    pixels, _, _, points = _cast(mesh, size)
    grid = np.full((VIEWS * size * size, 3), np.nan, dtype=np.float32)
    grid[pixels] = points
    return grid.reshape(VIEWS, size, size, 3)


def _cast(mesh: ObjectMesh, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """For rays that hit: flat pixel index, face, barycentric (u, v), point."""
    candidates = _candidates(mesh, size)
    origins = blender_poses()[:, :3, 3].astype(np.float32)[candidates // (size * size)]
    directions = ray_directions(size).reshape(-1, 3)[candidates]
    scene = EmbreeScene()
    # The mesh registers itself with the scene and must outlive the query.
    geometry = TriangleMesh(scene, mesh.triangles)
    found = scene.run(origins, directions, output=1)
    del geometry
    hit = np.flatnonzero(found["primID"] >= 0)
    barycentric = np.stack([found["u"][hit], found["v"][hit]], axis=1)
    points = origins[hit] + directions[hit] * found["tfar"][hit, None]
    return candidates[hit], found["primID"][hit].astype(np.int64), barycentric, points


def _candidates(mesh: ObjectMesh, size: int) -> NDArray[np.int64]:
    """Flat indices of the pixels inside the object's bounding rectangle in each view."""
    poses = blender_poses()
    points = np.unique(mesh.triangles.reshape(-1, 3), axis=0)
    local = np.einsum("vji,vpj->vpi", poses[:, :3, :3], points[None] - poses[:, None, :3, 3])
    image = size / 2.0 + focal(size) * local[..., :2] / -local[..., 2:] * np.array([1.0, -1.0])
    low = np.clip(np.floor(image.min(axis=1) - 0.5), 0, size).astype(int)
    high = np.clip(np.ceil(image.max(axis=1) + 0.5), 0, size).astype(int)
    grid = np.arange(VIEWS * size * size).reshape(VIEWS, size, size)
    return np.concatenate([grid[v, low[v, 1] : high[v, 1], low[v, 0] : high[v, 0]].ravel() for v in range(VIEWS)])


def _shade(mesh: ObjectMesh, pixels: NDArray[np.int64], faces: NDArray[np.int64], uv: Floats, size: int) -> Floats:
    """Lambert's law on flat faces; a face seen from behind is lit as if its normal were turned round."""
    corners = mesh.triangles
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    directions = ray_directions(size).reshape(-1, 3)[pixels]
    facing = np.einsum("ij,ij->i", normals[faces], directions) < 0.0
    cosine = (normals @ LIGHT.astype(np.float32))[faces]
    light = AMBIENT + DIFFUSE * np.maximum(np.where(facing, cosine, -cosine), 0.0)
    return np.minimum(_base_colours(mesh, faces, uv) * light[:, None], 1.0).astype(np.float32)


def _base_colours(mesh: ObjectMesh, faces: NDArray[np.int64], uv: Floats) -> Floats:
    """Unlit colours at the hits. Plain materials are one look-up; only patterns are evaluated point by point."""
    plain = np.array([material.colour for material in mesh.materials], dtype=np.float32)
    ids = mesh.material_ids[faces]
    colours = plain[ids]
    for index, material in enumerate(mesh.materials):
        if material.pattern == "solid":
            continue
        chosen = np.flatnonzero(ids == index)
        corners, weights = mesh.texture[faces[chosen]], uv[chosen]
        rest = 1.0 - weights.sum(axis=1, keepdims=True)
        points = rest * corners[:, 0] + weights[:, :1] * corners[:, 1] + weights[:, 1:] * corners[:, 2]
        colours[chosen] = material.at(points)
    return colours
