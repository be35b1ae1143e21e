"""Camera poses, intrinsics and Plücker rays, in one convention.

Inside the program a camera is an OpenCV world-to-camera matrix (x right, y down, z forward; column vectors) and a
pinhole matrix in pixels with pixel centres at half integers. The world is y-up, as in LGM. Other conventions are
converted here, at the edge, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

LGM_FOV_Y_DEG = 49.1
"""Vertical field of view LGM was trained with, degrees."""
LGM_RADIUS = 1.5
"""Distance of LGM's cameras from the world origin."""

# Blender's z-up world to the y-up world: new y = old z, new z = -old y.
_Z_UP_TO_Y_UP = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
# OpenGL camera axes (y up, -z forward) to OpenCV camera axes (y down, z forward), and back.
_OPENGL_OPENCV = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras that share one image size.

    Args:
        viewmats: ``[..., V, 4, 4]`` world-to-camera, OpenCV axes.
        Ks: ``[..., V, 3, 3]`` intrinsics in pixels, no skew.
        width: image width in pixels.
        height: image height in pixels.
    """

    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.viewmats.shape[-2:] != (4, 4) or self.Ks.shape[-2:] != (3, 3):
            raise ValueError(f"viewmats {list(self.viewmats.shape)} or Ks {list(self.Ks.shape)} is no camera matrix")
        if self.viewmats.shape[:-2] != self.Ks.shape[:-2]:
            raise ValueError(f"viewmats {list(self.viewmats.shape)} and Ks {list(self.Ks.shape)} differ in cameras")

    @property
    def centers(self) -> Tensor:
        """Camera positions in the world, ``[..., V, 3]``."""
        return invert_rigid(self.viewmats)[..., :3, 3]

    def resized(self, width: int, height: int) -> Cameras:
        """Return the same cameras for images resampled to ``width`` x ``height``."""
        factors = self.Ks.new_tensor([width / self.width, height / self.height, 1.0])
        return Cameras(self.viewmats, self.Ks * factors[:, None], width, height)

    def select(self, index: int | slice | Sequence[int] | Tensor) -> Cameras:
        """Return the cameras at ``index`` of the view dimension; an integer keeps that dimension."""
        chosen = [index] if isinstance(index, int) else index
        return replace(self, viewmats=self.viewmats[..., chosen, :, :], Ks=self.Ks[..., chosen, :, :])

    def to(self, device: torch.device | str) -> Cameras:
        """Return the cameras on ``device``."""
        return replace(self, viewmats=self.viewmats.to(device), Ks=self.Ks.to(device))


def invert_rigid(matrices: Tensor) -> Tensor:
    """Invert ``[..., 4, 4]`` rotations with translation by transposing the rotation."""
    rotations = matrices[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(matrices)
    inverse[..., :3, :3] = rotations
    inverse[..., :3, 3] = -(rotations @ matrices[..., :3, 3:]).squeeze(-1)
    inverse[..., 3, 3] = 1.0
    return inverse


def blender_to_viewmats(c2w: Tensor) -> Tensor:
    """Convert ``[..., 4, 4]`` camera-to-world poses of ``transforms.json`` files to viewmats.

    These poses have Blender's z-up world and OpenGL camera axes. A Blender camera 30 degrees above the object and in
    front of it becomes ``orbit_viewmats(-30, 0)``.
    """
    return _to_viewmats(c2w, flip_camera=True)


def opencv_c2w_to_viewmats(c2w: Tensor) -> Tensor:
    """Convert ``[..., 4, 4]`` camera-to-world poses with Blender's z-up world and OpenCV camera axes to viewmats.

    LGM's own renders and G-Objaverse are stored so.
    """
    return _to_viewmats(c2w, flip_camera=False)


def _to_viewmats(c2w: Tensor, flip_camera: bool) -> Tensor:
    poses = _Z_UP_TO_Y_UP.to(c2w.device) @ c2w.double()
    if flip_camera:
        poses = poses @ _OPENGL_OPENCV.to(c2w.device)
    return invert_rigid(poses).to(c2w.dtype)


def first_view_frame(viewmats: Tensor, radius: float = LGM_RADIUS) -> tuple[Tensor, Tensor]:
    """Express cameras in the frame of the first view, scaled by one common factor.

    All translations of an object are multiplied by ``radius / |t_0|``, ``|t_0|`` being the first camera's distance
    from the origin; then the world is moved so that view 0 has, in OpenGL axes, rotation exactly I and position
    exactly (0, 0, radius) (LGM, training provider).

    Args:
        viewmats: ``[..., V, 4, 4]``.
        radius: distance of the first camera from the new origin.

    Returns:
        The new viewmats, and the factor, ``[...]``.
    """
    scaled, factor = _scale_to_radius(viewmats.double(), radius)
    to_world = invert_rigid(_frame_of(scaled[..., 0, :, :], radius))
    moved = scaled @ to_world[..., None, :, :]
    # Rounding would leave the first view almost at rest; the model is promised that it is at rest.
    moved[..., 0, :, :] = _resting_viewmat(radius, viewmats.device)
    return moved.to(viewmats.dtype), factor.to(viewmats.dtype)


def points_to_first_view_frame(points: Tensor, first_viewmat: Tensor, radius: float = LGM_RADIUS) -> Tensor:
    """Move ``[..., 3]`` world points to the frame that :func:`first_view_frame` makes of ``first_viewmat`` [4, 4]."""
    scaled, factor = _scale_to_radius(first_viewmat.double()[None], radius)
    frame = _frame_of(scaled[0], radius)
    moved = (factor * points.double()) @ frame[:3, :3].T + frame[:3, 3]
    return moved.to(points.dtype)


def _scale_to_radius(viewmats: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return viewmats with translations times ``radius / |t_0|``, and that factor."""
    distance = torch.linalg.vector_norm(viewmats[..., 0, :3, 3], dim=-1)
    if not bool((distance > 0).all()):
        raise ValueError("the first camera lies at the world origin: its view has no scale")
    factor = radius / distance
    scaled = viewmats.clone()
    scaled[..., :3, 3] *= factor[..., None, None]
    return scaled, factor


def _frame_of(first_viewmat: Tensor, radius: float) -> Tensor:
    """World-to-frame matrix that puts the camera ``first_viewmat`` at rest."""
    return invert_rigid(_resting_viewmat(radius, first_viewmat.device)) @ first_viewmat


def _resting_viewmat(radius: float, device: torch.device) -> Tensor:
    """Viewmat of the camera at (0, 0, radius) that looks along -z with y up."""
    viewmat = _OPENGL_OPENCV.to(device).clone()
    viewmat[2, 3] = radius
    return viewmat


def orbit_viewmats(
    elevation_deg: float | Tensor, azimuth_deg: float | Tensor, radius: float | Tensor = LGM_RADIUS
) -> Tensor:
    """Cameras on a sphere that look at the origin, in the convention of LGM.

    The position is ``radius (cos e sin a, -sin e, cos e cos a)``: a **positive elevation lies below** the object.
    Arguments broadcast; the result is ``[..., 4, 4]`` float32.
    """
    elevation, azimuth, distance = torch.broadcast_tensors(
        *(torch.as_tensor(value, dtype=torch.float64) for value in (elevation_deg, azimuth_deg, radius))
    )
    sin_e, cos_e = torch.sin(torch.deg2rad(elevation)), torch.cos(torch.deg2rad(elevation))
    sin_a, cos_a = torch.sin(torch.deg2rad(azimuth)), torch.cos(torch.deg2rad(azimuth))
    zero = torch.zeros_like(sin_e)
    right = torch.stack((cos_a, zero, -sin_a), dim=-1)
    down = -torch.stack((sin_e * sin_a, cos_e, sin_e * cos_a), dim=-1)
    forward = -torch.stack((cos_e * sin_a, -sin_e, cos_e * cos_a), dim=-1)
    viewmats = torch.zeros(*sin_e.shape, 4, 4, dtype=torch.float64)
    viewmats[..., :3, :3] = torch.stack((right, down, forward), dim=-2)
    viewmats[..., 2, 3] = distance
    viewmats[..., 3, 3] = 1.0
    return viewmats.float()


def circle_cameras(count: int, size: int, elevation_deg: float, device: torch.device) -> Cameras:
    """LGM's cameras at ``count`` even azimuths, with square pictures; the first is that of the first input view.

    ``elevation_deg`` is that of :func:`orbit_viewmats`: above zero lies below the object.
    """
    azimuths = 360.0 * torch.arange(count, dtype=torch.float64) / count
    Ks = intrinsics_from_fov(math.radians(LGM_FOV_Y_DEG), size, size)
    return Cameras(orbit_viewmats(elevation_deg, azimuths).to(device), Ks.to(device).expand(count, 3, 3), size, size)


def intrinsics_from_fov(fov_x_rad: float, width: int, height: int) -> Tensor:
    """Pinhole matrix ``[3, 3]`` float32 for a horizontal field of view in radians, square pixels, centred axis."""
    focal = 0.5 * width / math.tan(0.5 * fov_x_rad)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def plucker_rays(cameras: Cameras) -> Tensor:
    """Plücker coordinates of every pixel's ray, ``[..., V, 6, H, W]``: moment ``o x d``, then unit direction ``d``.

    Directions come from each camera's own intrinsics; ``o`` is the camera centre in world units (LGM, section 3.2).
    """
    directions = pixel_directions(cameras)
    origins = cameras.centers[..., None, None, :].expand_as(directions)
    moments = torch.linalg.cross(origins, directions, dim=-1)
    return torch.cat((moments, directions), dim=-1).movedim(-1, -3)


def pixel_directions(cameras: Cameras) -> Tensor:
    """Unit directions in the world of the rays through the pixel centres, ``[..., V, H, W, 3]``."""
    dtype, device = cameras.Ks.dtype, cameras.Ks.device
    columns = torch.arange(cameras.width, dtype=dtype, device=device) + 0.5
    rows = torch.arange(cameras.height, dtype=dtype, device=device) + 0.5
    focal_x, focal_y, center_x, center_y = (cameras.Ks[..., i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    x = ((columns - center_x) / focal_x)[..., None, :]
    y = ((rows - center_y) / focal_y)[..., :, None]
    x, y = torch.broadcast_tensors(x, y)
    local = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    # Row vectors times R: the world-to-camera rotation applied backwards.
    directions = local @ cameras.viewmats[..., None, :3, :3]
    return F.normalize(directions, dim=-1)
