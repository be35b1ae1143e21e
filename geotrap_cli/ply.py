"""Gaussians as the PLY file that splat viewers open (3D Gaussian Splatting, Kerbl et al. 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from plyfile import PlyData, PlyElement, PlyParseError

from geotrap_cli.atomic import atomic_path
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.gaussians import GaussianBatch

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: colour = 0.5 + SH_C0 * f_dc."""
# Viewers store a logit and a logarithm: what is exactly 0 or 1 is moved by these amounts, so that both are finite.
OPACITY_MARGIN = 1e-6
SCALE_MARGIN = 1e-8

_MEANS = ("x", "y", "z")
_NORMALS = ("nx", "ny", "nz")
_COLORS = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_PROPERTIES = (*_MEANS, *_NORMALS, *_COLORS, "opacity", *_SCALES, *_QUATS)


def save_ply(path: str | Path, batch: GaussianBatch, min_opacity: float | None = None) -> None:
    """Write one object's Gaussians, every one of them unless ``min_opacity`` is given.

    Stored as float32 with inverse activations: opacity as a logit, scales as logarithms, colours as the constant
    spherical harmonic; rotations wxyz; normals zero.

    Args:
        path: the file to write.
        batch: a batch of one object.
        min_opacity: leave out Gaussians of lower opacity.

    Raises:
        ValueError: the batch does not hold exactly one object.
        GeotrapError: a value is not finite.
    """
    if len(batch) != 1:
        raise ValueError(f"a PLY file holds one object, got a batch of {len(batch)}")
    values = _stored_values(batch.detach().to("cpu"), min_opacity)
    if not np.isfinite(values).all():
        raise GeotrapError(f"{path}: not written, a Gaussian has a value that is not finite")
    vertices = np.empty(len(values), dtype=[(name, "<f4") for name in _PROPERTIES])
    for column, name in enumerate(_PROPERTIES):
        vertices[name] = values[:, column]
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(temporary))


def _stored_values(batch: GaussianBatch, min_opacity: float | None) -> np.ndarray:
    """Columns of ``_PROPERTIES``, ``[N, 17]`` float32."""
    batch = batch.to(torch.float64)
    opacity = batch.attribute("opacities")[0]
    columns = (
        batch.means[0],
        torch.zeros_like(batch.means[0]),
        (batch.rgb[0] - 0.5) / SH_C0,
        torch.logit(opacity, eps=OPACITY_MARGIN),
        torch.log(batch.scales[0] + SCALE_MARGIN),
        batch.quats[0],
    )
    table = torch.cat(columns, dim=-1)
    kept = table if min_opacity is None else table[opacity[:, 0] >= min_opacity]
    return kept.float().numpy()


def load_ply(path: str | Path) -> GaussianBatch:
    """Read a splat file written by this or another program; colours beyond the constant harmonic are ignored.

    Returns:
        A batch of one object, float32, on the CPU, without pre-activation values.

    Raises:
        UsageError: the file is missing, is no PLY, or lacks a property of a Gaussian.
    """
    vertices = _read_vertices(Path(path))
    means, colors, scales, quats = (_columns(vertices, names) for names in (_MEANS, _COLORS, _SCALES, _QUATS))
    parts = (
        means,
        torch.sigmoid(_columns(vertices, ("opacity",))),
        torch.exp(scales),
        F.normalize(quats, dim=-1),
        SH_C0 * colors + 0.5,
    )
    return GaussianBatch(torch.cat(parts, dim=-1).float()[None])


def _read_vertices(path: Path) -> np.ndarray:
    try:
        vertices = PlyData.read(str(path))["vertex"].data
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except (PlyParseError, OSError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a PLY file of Gaussians ({error})") from error
    missing = [name for name in _PROPERTIES if name not in (*_NORMALS, *(vertices.dtype.names or ()))]
    if missing:
        raise UsageError(f"{path}: no property {missing[0]}", hint="Export it as a 3D Gaussian Splatting PLY")
    return vertices


def _columns(vertices: np.ndarray, names: tuple[str, ...]) -> torch.Tensor:
    return torch.from_numpy(np.stack([vertices[name].astype(np.float64) for name in names], axis=-1))
