"""Distillation on source objects alone: as many steps, and nothing that defends."""

from __future__ import annotations

from typing import ClassVar

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, LossTerms
from geotrap_cli.profile.schema import Profile


class DistillDefense(Defense):
    """p·K_distill: a control that must show no resistance."""

    key: ClassVar[str] = "distill"
    summary: ClassVar[str] = "distillation on source objects alone: a control that must fall"
    source: ClassVar[str] = "control"
    assumes: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "1 gradient"
    sees_target: ClassVar[bool] = False

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 1.0

    def indivisible(self, profile: Profile) -> str | None:
        """None: the loss is a mean over objects."""
        del profile
        return None

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return p·K_distill."""
        del target, step
        kept = self.context.retained(source)
        return {**kept.metrics, "total": self.context.share * kept.loss}
