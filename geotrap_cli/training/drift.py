"""How far each attribute of the Gaussians moved away from the undefended generator, for reports."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, GaussianBatch


def attribute_drift(student: GaussianBatch, teacher: GaussianBatch) -> dict[str, Tensor]:
    """Return the mean change of each attribute, one number per object, ``[B]``, without gradient.

    All but rotations: the mean over Gaussians and channels of |student - teacher|, in the attribute's own unit (world
    units for ``means`` and ``scales``; ``opacities`` and ``rgb`` lie in [0, 1]). ``quats``: the mean over Gaussians of
    the angle of the rotation between the two, in radians, [0, π]; q and -q are the same rotation. A zero quaternion is
    no rotation: it counts as 2π/3 away from any other and 0 away from itself.

    Args:
        student: Gaussians of the model that was trained, ``[B, N, 14]``.
        teacher: Gaussians of the undefended model on the same input, of the same shape.

    Raises:
        ValueError: The shapes differ.
    """
    if student.activated.shape != teacher.activated.shape:
        shapes = f"{list(student.activated.shape)} and {list(teacher.activated.shape)}"
        raise ValueError(f"drift needs Gaussians of one shape, got {shapes}")
    # A mean over 10^5 small changes: float32 would lose some of them, and reports are rare enough to be exact.
    student, teacher = student.detach().to(torch.float64), teacher.detach().to(torch.float64)
    moved = {name: _absolute(student.attribute(name), teacher.attribute(name)) for name in CHANNELS}
    return {**moved, "quats": _angle(student.quats, teacher.quats)}


def _absolute(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).abs().mean(dim=(1, 2))


def _angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Angle 4·asin(d/2) from the chord d = min |q ∓ q'|: unlike 2·acos|q·q'|, exact for small angles."""
    chord = torch.minimum((student - teacher).norm(dim=-1), (student + teacher).norm(dim=-1))
    return (4 * torch.asin(chord / 2)).mean(dim=1)
