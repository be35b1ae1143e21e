"""The last layer of Splatter Image, and what its channels mean in space.

Channels, in order (Szymanowicz et al., "Splatter Image", CVPR 2024, section 3): depth (1), offset (3), opacity (1),
log scale (3), rotation wxyz (4), constant colour (3) and, with spherical harmonics of degree 1, nine more, three
colours for each of three functions. Positions, rotations and harmonics are those of the input camera, OpenCV axes.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geotrap_cli.cameras import LGM_RADIUS
from geotrap_cli.models.splatter_image.architecture import Architecture

SH_C0: Final = 0.28209479177387814
SH_C1: Final = 0.4886025119029199
"""Values of the spherical harmonics of degree 0 and 1 (without their linear factor)."""

DEPTH, OFFSET, OPACITY, SCALE, ROTATION, COLOUR, HARMONICS = 1, 3, 1, 3, 4, 3, 9
SPLIT: Final = (DEPTH, OFFSET, OPACITY, SCALE, ROTATION, COLOUR)
GAINS: Final = (1.0, 0.1, 1.0, 0.003, 1.0, 5.0, 0.0)
BIASES: Final = (0.0, 0.0, -2.0, math.log(0.02), 0.0, 0.0, 0.0)
"""Where fresh weights start, by the rows above: faint, small Gaussians on their rays at middle depth."""
RAYS: Final = slice(6, 9)
"""Directions among the input channels: behind colours and moments."""


def split_of(sh_degree: int) -> tuple[int, ...]:
    """How many channels each row above has."""
    return SPLIT if sh_degree == 0 else (*SPLIT, HARMONICS)


def make_head(sh_degree: int) -> nn.Conv2d:
    """The 1x1 convolution to the channels above, which starts at :data:`GAINS` and :data:`BIASES`."""
    split = split_of(sh_degree)
    layer = nn.Conv2d(sum(split), sum(split), kernel_size=1)
    assert layer.bias is not None
    for weight, bias, gain, start in zip(
        layer.weight.split(split), layer.bias.split(split), GAINS, BIASES, strict=False
    ):
        nn.init.xavier_uniform_(weight, gain)
        nn.init.constant_(bias, start)
    return layer


def raw_gaussians(features: Tensor, images: Tensor, arch: Architecture) -> Tensor:
    """Raw Gaussian channels ``[B, S * S, 14]`` in the frame of the input view, in row-major order of the pixels.

    The mean of a pixel's Gaussian lies at ``o + s (d z + offset)`` with ``z = znear + (zfar - znear) sigmoid(depth)``,
    ``d`` its ray with depth one, ``o`` the camera centre and ``s`` world units per unit of the training cameras.
    Colours are those that the input camera sees: the program's Gaussians have one colour for all directions.

    Args:
        features: ``[B, C, S, S]`` output of the head.
        images: ``[B, 9, S, S]`` network input, of which the rays are read: the first view is at rest, at
            (0, 0, 1.5) with x right, y up and z backward (``geotrap_cli.cameras.first_view_frame``).
        arch: Depths and unit of length.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    parts = features.split(split_of(arch.sh_degree), dim=1)
    depth, offset, opacity, scale, rotation, colour = parts[:6]
    directions = _from_opengl(images[:, RAYS].to(features))
    unit = LGM_RADIUS / arch.camera_radius
    local = directions / directions[:, 2:] * (arch.znear + (arch.zfar - arch.znear) * depth.sigmoid()) + offset
    means = _from_opengl(unit * local) + _center(features)
    colours = 0.5 + SH_C0 * colour
    if arch.sh_degree == 1:
        colours = colours + _linear_harmonics(parts[6], directions)
    raw = torch.cat((means, opacity, scale + math.log(unit), _to_world(rotation), colours), dim=1)
    return raw.flatten(2).mT


def _from_opengl(vectors: Tensor) -> Tensor:
    """Vectors ``[B, 3, S, S]`` of the resting camera between its OpenGL axes, which are the world's, and OpenCV's."""
    return vectors * vectors.new_tensor([1.0, -1.0, -1.0])[:, None, None]


def _center(like: Tensor) -> Tensor:
    return like.new_tensor([0.0, 0.0, LGM_RADIUS])[:, None, None]


def _to_world(quats: Tensor) -> Tensor:
    """Raw quaternions ``[B, 4, S, S]`` after the half turn about x that leads from OpenCV to OpenGL axes."""
    w, x, y, z = quats.unbind(1)
    return torch.stack((-x, w, -z, y), dim=1)


def _linear_harmonics(coefficients: Tensor, directions: Tensor) -> Tensor:
    """Colour ``[B, 3, S, S]`` by coefficients ``[B, 9, S, S]`` of -y, z and -x, towards ``directions``."""
    x, y, z = F.normalize(directions, dim=1).unbind(1)
    functions = SH_C1 * torch.stack((-y, z, -x), dim=1)
    return (coefficients.unflatten(1, (3, 3)) * functions[:, :, None]).sum(dim=1)
