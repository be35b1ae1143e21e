"""Meshes with the colours of their vertices, faces and textures, ready to be ray cast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from geotrap_cli.data.mesh_files import referenced_files
from geotrap_cli.data.rig import fit_to_rig
from geotrap_cli.errors import UsageError

GREY = (0.7, 0.7, 0.7)
"""Colour of a mesh that has none."""
_EXPORT_AGAIN = "Export it again, as triangles"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TexturedMesh:
    """One object inside the rig's bounding sphere, z up.

    Attributes:
        triangles: Corners of every face [m, 3, 3].
        tints: Colour at every corner [m, 3, 3], which multiplies the texture.
        coordinates: Texture coordinates of every corner [m, 3, 2], v upwards; zero for a face without texture.
        texture_ids: Index into ``textures`` of every face [m], -1 for none.
        textures: RGB pictures [h, w, 3] in 0..1.

    """

    triangles: Floats
    tints: Floats
    coordinates: Floats
    texture_ids: NDArray[np.int64]
    textures: tuple[Floats, ...]

    def colours(self, faces: NDArray[np.int64], uv: Floats) -> Floats:
        """Unlit colours at points of the faces: interpolated tint times texture (bilinear, repeated)."""
        weights = np.column_stack((1.0 - uv.sum(axis=1), uv)).astype(np.float32)
        colours = np.einsum("nk,nkc->nc", weights, self.tints[faces])
        for index, texture in enumerate(self.textures):
            chosen = np.flatnonzero(self.texture_ids[faces] == index)
            points = np.einsum("nk,nkc->nc", weights[chosen], self.coordinates[faces[chosen]])
            colours[chosen] *= sample(texture, points)
        return colours.astype(np.float32)


def load_mesh(path: Path, y_up: bool, texture_limit: int = 1024) -> TexturedMesh:
    """Read a mesh or a scene of meshes; transparency of materials is not drawn.

    Args:
        path: GLB, glTF, OBJ, PLY or STL file.
        y_up: whether the file's up axis is y; else it is z.
        texture_limit: larger textures are averaged down to this side (pixels): finer ones would only flicker.

    Raises:
        UsageError: the file, or one that it refers to, cannot be read or holds no triangles.
    """
    referenced_files(path)
    try:
        parts = trimesh.load_scene(path, process=False).dump(concatenate=False)
    # The parsers of five formats raise whatever they meet.
    except Exception as error:
        raise UsageError(f"{path}: cannot be read as a mesh ({_short(error)})", hint=_EXPORT_AGAIN) from error
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not meshes:
        raise UsageError(f"{path}: no triangles", hint=_EXPORT_AGAIN)
    return _joined(path, meshes, y_up, texture_limit)


def sample(texture: Floats, points: Floats) -> Floats:
    """Return the colours [n, 3] of a texture at coordinates [n, 2], v upwards: bilinear, repeated beyond 0..1."""
    height, width = texture.shape[:2]
    x = points[:, 0] * width - 0.5
    y = (1.0 - points[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (x - left)[:, None], (y - top)[:, None]
    columns, rows = (left % width, (left + 1) % width), (top % height, (top + 1) % height)
    upper = texture[rows[0], columns[0]] * (1 - across) + texture[rows[0], columns[1]] * across
    lower = texture[rows[1], columns[0]] * (1 - across) + texture[rows[1], columns[1]] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _joined(path: Path, meshes: list[Any], y_up: bool, texture_limit: int) -> TexturedMesh:
    linear = path.suffix.lower() in (".glb", ".gltf")
    parts = [_Part(mesh, linear, texture_limit) for mesh in meshes]
    triangles = np.concatenate([np.asarray(mesh.triangles, dtype=np.float64) for mesh in meshes])
    if not np.isfinite(triangles).all():
        raise UsageError(f"{path}: a coordinate is not finite", hint=_EXPORT_AGAIN)
    if not np.ptp(triangles.reshape(-1, 3), axis=0).max() > 0:
        raise UsageError(f"{path}: all triangles lie in one point", hint=_EXPORT_AGAIN)
    if y_up:
        triangles = triangles[..., [0, 2, 1]] * (1.0, -1.0, 1.0)
    textures = tuple(part.texture for part in parts if part.texture is not None)
    owners = np.cumsum([part.texture is not None for part in parts]) - 1
    ids = [
        np.full(len(part.tints), owner if part.texture is not None else -1, dtype=np.int64)
        for part, owner in zip(parts, owners, strict=True)
    ]
    tints = np.concatenate([part.tints for part in parts])
    coordinates = np.concatenate([part.coordinates for part in parts])
    return TexturedMesh(fit_to_rig(triangles).astype(np.float32), tints, coordinates, np.concatenate(ids), textures)


class _Part:
    """Colours of one mesh of a scene, by corner."""

    def __init__(self, mesh: Any, linear: bool, texture_limit: int) -> None:
        visual, count = mesh.visual, len(mesh.faces)
        self.coordinates = np.zeros((count, 3, 2), dtype=np.float32)
        self.texture: Floats | None = None
        if visual.kind == "texture":
            self.tints = np.broadcast_to(_material_colour(visual.material, linear), (count, 3, 3)).copy()
            self.tints *= _attribute_tints(visual, mesh.faces, linear)
            image = _image(visual.material)
            if image is not None and visual.uv is not None:
                self.coordinates = np.asarray(visual.uv, dtype=np.float32)[:, :2][mesh.faces]
                self.texture = _pixels(image, texture_limit)
        elif visual.kind == "face":
            self.tints = np.repeat(_rgb(visual.face_colors, linear)[:, None], 3, axis=1)
        elif visual.kind == "vertex":
            self.tints = _rgb(visual.vertex_colors, linear)[mesh.faces]
        else:
            self.tints = np.full((count, 3, 3), GREY, dtype=np.float32)


def _image(material: Any) -> Image.Image | None:
    for name in ("baseColorTexture", "image"):
        if getattr(material, name, None) is not None:
            return getattr(material, name)
    return None


def _material_colour(material: Any, linear: bool) -> Floats:
    """The colour that multiplies the texture, or that is all there is."""
    if hasattr(material, "baseColorFactor"):
        factor = material.baseColorFactor
        return np.ones(3, dtype=np.float32) if factor is None else _rgb(factor, linear)
    # Exporters of OBJ write all sorts of Kd beside a texture, and viewers ignore it.
    if _image(material) is not None or getattr(material, "diffuse", None) is None:
        return np.ones(3, dtype=np.float32)
    return _rgb(material.diffuse, linear)


def _attribute_tints(visual: Any, faces: NDArray[np.int64], linear: bool) -> Floats:
    """Colours of the vertices of a mesh that has a material too."""
    colours = getattr(visual, "vertex_attributes", {}).get("color")
    return np.ones((len(faces), 3, 3), dtype=np.float32) if colours is None else _rgb(colours, linear)[faces]


def _rgb(colours: Any, linear: bool) -> Floats:
    """RGB in 0..1, encoded as pictures are; ``linear`` says that they come as light, as glTF's do."""
    values = np.asarray(colours)
    scaled = values[..., :3].astype(np.float32) / (255.0 if values.dtype.kind in "iu" else 1.0)
    if not linear:
        return scaled
    encoded = np.where(scaled <= 0.0031308, 12.92 * scaled, 1.055 * np.maximum(scaled, 1e-9) ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def _pixels(image: Image.Image, limit: int) -> Floats:
    rgb = image.convert("RGB")
    if max(rgb.size) > limit:
        ratio = limit / max(rgb.size)
        size = (max(1, round(rgb.width * ratio)), max(1, round(rgb.height * ratio)))
        rgb = rgb.resize(size, Image.Resampling.BOX)
    return np.asarray(rgb, dtype=np.float32) / 255.0


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]
