"""Distillation: on source data the defended model stays what it was."""

from __future__ import annotations

import torch

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.terms import Term
from geotrap_cli.training.workbench import Workbench


def distillation(student: GaussianBatch, teacher: GaussianBatch, power: int = 1) -> torch.Tensor:
    """Return mean |G_θ(x) − G_θ0(x)|^p over objects, Gaussians and the 14 activated channels (a scalar).

    Args:
        student: Gaussians of the model that is trained.
        teacher: Gaussians of the undefended model on the same input, without gradient.
        power: p. 1 constrains small attributes such as scale better than 2.
    """
    difference = (student.activated.float() - teacher.activated.float()).abs()
    return difference.pow(power).mean()


class Retention:
    """What keeps source outputs as they were: called once a step.

    Args:
        bench: Data and settings.
        teacher: The undefended generator.
    """

    def __init__(self, bench: Workbench, teacher: LGM) -> None:
        self.bench, self.teacher = bench, teacher

    def __call__(self, student: GaussianBatch, source: ViewBatch) -> Term:
        """Return the distance of ``student``, the defended model's Gaussians, to the teacher's on the same views."""
        with autocast(self.bench.profile.train.precision, self.bench.device), torch.no_grad():
            taught = self.teacher(source.images)
        distill = distillation(student, activate(taught), self.bench.profile.retain.power)
        return Term(distill, {"distill": distill})
