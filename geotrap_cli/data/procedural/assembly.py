"""From parts to one normalised mesh, ready to be rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from geotrap_cli.data.procedural.primitives import Part
from geotrap_cli.data.procedural.textures import Material
from geotrap_cli.data.rig import fit_to_rig
from geotrap_cli.errors import GeotrapError


@dataclass(frozen=True)
class ObjectMesh:
    """One object, centred, z up, inside the bounding sphere of the camera rig.

    Attributes:
        triangles: Corners of every face [m, 3, 3], float32.
        texture: Texture coordinates of the corners [m, 3, 3], float32.
        material_ids: Index into ``materials`` of every face [m].
        materials: The object's materials.

    """

    triangles: NDArray[np.float32]
    texture: NDArray[np.float32]
    material_ids: NDArray[np.int64]
    materials: tuple[Material, ...]

    def colours(self, faces: NDArray[np.int64], uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unlit colours at the hits. Plain materials are one look-up; only patterns are evaluated point by point."""
        plain = np.array([material.colour for material in self.materials], dtype=np.float32)
        ids = self.material_ids[faces]
        colours = plain[ids]
        for index, material in enumerate(self.materials):
            if material.pattern == "solid":
                continue
            chosen = np.flatnonzero(ids == index)
            corners, weights = self.texture[faces[chosen]], uv[chosen]
            rest = 1.0 - weights.sum(axis=1, keepdims=True)
            points = rest * corners[:, 0] + weights[:, :1] * corners[:, 1] + weights[:, 1:] * corners[:, 2]
            colours[chosen] = material.at(points)
        return colours


def assemble(parts: Sequence[Part], yaw: float = 0.0, tilt: tuple[float, float] = (0.0, 0.0)) -> ObjectMesh:
    """Join ``parts``, turn the whole by ``tilt`` (degrees around x and y) and ``yaw``, and fit the bounding sphere.

    Raises:
        GeotrapError: No parts, or coordinates that are not finite.

    """
    if not parts:
        raise GeotrapError("an object without parts cannot be assembled")
    materials = tuple(dict.fromkeys(part.material for part in parts))
    triangles = np.concatenate([part.vertices[part.faces] for part in parts])
    texture = np.concatenate([part.texture[part.faces] for part in parts])
    ids = np.concatenate([np.full(len(part.faces), materials.index(part.material)) for part in parts])
    if not np.isfinite(triangles).all():
        raise GeotrapError("an object's coordinates are not finite", hint="Check the category's proportions.")
    fitted = fit_to_rig(triangles @ _rotation(yaw, tilt).T)
    return ObjectMesh(fitted.astype(np.float32), texture.astype(np.float32), ids, materials)


def _rotation(yaw: float, tilt: tuple[float, float]) -> NDArray[np.float64]:
    angles = np.radians([tilt[0], tilt[1], yaw])
    return np.asarray(trimesh.transformations.euler_matrix(*angles, axes="sxyz"))[:3, :3]
