"""Distillation in attribute space: the distance of the Gaussians to those of the undefended generator."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, GaussianBatch

Normalise = Literal["none", "attribute"]
Quaternions = Literal["raw", "sign_invariant"]

MIN_SCALE: Final = 1e-3
"""Smallest scale that an attribute is divided by, in its own unit: what is all zero must not weigh without bound.

A thousandth is a quarter of an 8-bit step for opacities and rgb, and less than half a pixel of a 512-pixel image of the
scene for means and scales, so nothing visible is flattened by it.
"""


def distillation(
    student: GaussianBatch,
    teacher: GaussianBatch,
    power: int = 1,
    normalise: Normalise = "none",
    quaternions: Quaternions = "raw",
) -> Tensor:
    """Return mean |(G_θ(x) − G_θ0(x)) / σ|^p over objects, Gaussians and the 14 activated channels (a scalar).

    The gradient goes to the student; the teacher is a constant. Half precision is raised to float32.

    Args:
        student: Gaussians of the model that is trained, ``[B, N, 14]``.
        teacher: Gaussians of the undefended model on the same input.
        power: p. 1 constrains small attributes such as scale better than 2.
        normalise: ``none``: σ = 1, each channel in its own unit. ``attribute``: σ is the teacher's
            :func:`attribute_scales`, so that the result has no unit and a change of 10 % counts alike everywhere.
        quaternions: ``raw``: channel by channel. ``sign_invariant``: of q and −q, which are one rotation, the teacher's
            is the one that is nearer to the student's.
    """
    dtype = torch.promote_types(student.activated.dtype, torch.float32)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    target = teacher.activated
    if quaternions == "sign_invariant":
        target = with_nearest_quats(student, teacher, power)
    difference = (student.activated - target).abs()
    if normalise == "attribute":
        difference = difference / attribute_scales(teacher)
    return difference.pow(power).mean()


def attribute_scales(teacher: GaussianBatch) -> Tensor:
    """Return the size of each object's attributes behind each channel, ``[B, 1, 14]``, constant within an attribute.

    The size is the root mean square over Gaussians and channels, and at least ``MIN_SCALE``. It is taken from zero and
    not from the mean, because an attribute that is constant over an object has a size, but no spread to divide by.
    """
    scales = torch.empty_like(teacher.activated[:, :1])
    for name, channels in CHANNELS.items():
        size = teacher.attribute(name).pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
        # clamp keeps NaN.
        scales[..., channels] = size.clamp(min=MIN_SCALE)
    return scales


@torch.no_grad()
def with_nearest_quats(student: GaussianBatch, teacher: GaussianBatch, power: int) -> Tensor:
    """Return the teacher's channels ``[B, N, 14]`` with q or −q, whichever has the smaller Σ|q_student ∓ q|^p.

    The smaller of two sums is continuous in the student's quaternion, and smooth where they differ; where they are
    equal the teacher's own sign is taken.
    """
    apart = (student.quats - teacher.quats).abs().pow(power).sum(dim=-1, keepdim=True)
    mirrored = (student.quats + teacher.quats).abs().pow(power).sum(dim=-1, keepdim=True)
    target = teacher.activated.clone()
    target[..., CHANNELS["quats"]] = torch.where(mirrored < apart, -teacher.quats, teacher.quats)
    return target
