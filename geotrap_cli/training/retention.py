"""Retention: on source data the defended model stays what it was."""

from __future__ import annotations

from geotrap_cli.data.procedural.cache import default_root
from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.distillation import distillation
from geotrap_cli.training.distillation_render import render_distillation
from geotrap_cli.training.teacher import Teacher
from geotrap_cli.training.teacher_cache import TeacherCache, teacher_folder
from geotrap_cli.training.terms import Term
from geotrap_cli.training.workbench import Workbench

__all__ = ["Retention", "distillation"]

#: Names of the metrics, unweighted.
DISTILL, DISTILL_RENDER = "distill", "distill_render"


class Retention:
    """λ_distill · distillation in attribute space + λ_render · distillation in image space, from ``[retain]``.

    Args:
        bench: Data and settings.
        teacher: The undefended generator, in evaluation mode.
    """

    def __init__(self, bench: Workbench, teacher: GaussianGenerator) -> None:
        self.table = bench.profile.retain
        precision, device = bench.profile.train.precision, bench.device
        cache = None
        if self.table.cache:
            cache = TeacherCache(teacher_folder(default_root(), teacher, precision, device))
        self.teacher = Teacher(teacher, precision, device, cache)

    @property
    def views(self) -> int:
        """Supervised views that each source object needs."""
        return self.table.render_views if self.table.render_weight > 0 else 0

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of a step."""
        return (DISTILL, DISTILL_RENDER) if self.views else (DISTILL,)

    def __call__(self, student: GaussianBatch, source: ViewBatch) -> Term:
        """Return the weighted distance of the defended model's Gaussians to the teacher's on the same views.

        Args:
            student: What the model that is trained makes of ``source.images``, with a graph.
            source: Source objects with ``views`` supervised cameras.

        Raises:
            OSError: The cache of teacher outputs cannot be written.
            NonFiniteError: The image-space term got Gaussians that are NaN or infinite.
        """
        table, taught = self.table, self.teacher(source.images)
        metrics = {DISTILL: distillation(student, taught, table.power, table.normalise, table.quaternions)}
        loss = table.weight * metrics[DISTILL]
        if self.views:
            metrics[DISTILL_RENDER] = render_distillation(student, taught, source.cameras)
            loss = loss + table.render_weight * metrics[DISTILL_RENDER]
        return Term(loss, metrics)
