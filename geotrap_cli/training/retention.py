"""Distillation: on source data the defended model stays what it was."""

from __future__ import annotations

import torch

from geotrap_cli.gaussians import GaussianBatch


def distillation(student: GaussianBatch, teacher: GaussianBatch, power: int = 1) -> torch.Tensor:
    """Return mean |G_θ(x) − G_θ0(x)|^p over objects, Gaussians and the 14 activated channels (a scalar).

    Args:
        student: Gaussians of the model that is trained.
        teacher: Gaussians of the undefended model on the same input, without gradient.
        power: p. 1 constrains small attributes such as scale better than 2.
    """
    difference = (student.activated.float() - teacher.activated.float()).abs()
    return difference.pow(power).mean()
