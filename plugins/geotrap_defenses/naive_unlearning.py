"""Gradient ascent on target objects and nothing else: what most people try first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.search_ranges import Range, multiples
from geotrap_defenses._mix import Cap, capped
from geotrap_defenses._search import LEARNING_RATE


class NaiveUnlearningConfig(DefenseConfig):
    """Options of gradient ascent."""

    cap: Cap = 0.5


class NaiveUnlearningDefense(Defense):
    """−L_b(D_H) with L_b = min(L, L_max) and L the rendering loss of an attacker.

    ``GradAscent`` of open-unlearning has no bound and diverges, so the bound is ours; nothing is retained.
    """

    key: ClassVar[str] = "naive_unlearning"
    summary: ClassVar[str] = "bounded gradient ascent on target objects, nothing retained"
    source: ClassVar[str] = "GradAscent of open-unlearning (locuslab); the bound is ours"
    assumes: ClassVar[str] = "that what is unlearned has to be learned anew"
    cost: ClassVar[str] = "1 gradient"
    Config: ClassVar[type[DefenseConfig]] = NaiveUnlearningConfig
    config: NaiveUnlearningConfig
    sees_source: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ("target_loss",)
    ignores: ClassVar[tuple[str, ...]] = (*Defense.ignores, "retain", "train.source_ratio")
    search: ClassVar[Mapping[str, Range]] = {"cap": multiples(0.2, 2.0), **LEARNING_RATE}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 1.0

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return −L_b."""
        del source, step
        loss = self.context.reconstruction(target)
        return {"target_loss": loss, "total": -capped(loss, self.config.cap)}
