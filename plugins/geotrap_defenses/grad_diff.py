"""Gradient difference: ascent on target objects, distillation on source objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.search_ranges import Range, multiples
from geotrap_defenses._mix import AscentConfig, capped, mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE


class GradDiffDefense(Defense):
    """p·K_distill(D_R) − (1 − p)·w·L_b(D_H) with L_b = min(L, L_max) and L the rendering loss of an attacker.

    Liu et al. 2022 (GradDiff, as open-unlearning has it): −γ·L(D_H) + α·L(D_R). The bound, and distillation in the
    place of the loss on retained data, are ours.
    """

    key: ClassVar[str] = "grad_diff"
    summary: ClassVar[str] = "bounded gradient ascent on target objects, distillation on the rest"
    source: ClassVar[str] = "GradDiff (Liu et al. 2022; open-unlearning); the bound is ours"
    assumes: ClassVar[str] = "that what is unlearned has to be learned anew"
    cost: ClassVar[str] = "2 gradients"
    Config: ClassVar[type[DefenseConfig]] = AscentConfig
    config: AscentConfig
    shows: ClassVar[tuple[str, ...]] = ("target_loss",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "cap": multiples(0.2, 2.0), **LEARNING_RATE}

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step."""
        del step
        loss, kept = self.context.reconstruction(target), self.context.retained(source)
        own = -self.config.weight * capped(loss, self.config.cap)
        return mixed(self.context.share, kept, own, {"target_loss": loss})
