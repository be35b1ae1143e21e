"""Booster: weights at which a step of fine-tuning lowers the attacker's loss as little as possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.directions import of_length, weight_gradient
from geotrap_defenses._mix import AscentConfig, as_numbers, set_gradients
from geotrap_defenses._search import DECADES, LEARNING_RATE


class BoosterConfig(AscentConfig):
    """Options of Booster."""

    radius: float = Field(default=0.1, gt=0, description="a, length of the simulated step (L2 over all weights).")


class BoosterDefense(Defense):
    """Steps along p·∇K_distill + (1 − p)·λ·(g1 − g2), g1 = ∇L(θ; D_H) and g2 = ∇L(θ − a·g1/‖g1‖; D_H).

    That is the first-order gradient of L(θ) − L(θ − a·g1/‖g1‖), what an attacker gains by a step. Source: Booster
    (arXiv 2409.01586), whose trainer we know; the bound is ours: once the loss after the step has reached L_max, the
    term rests.
    """

    key: ClassVar[str] = "booster"
    summary: ClassVar[str] = "least gain of a step of fine-tuning on target objects"
    source: ClassVar[str] = "Booster (Huang et al. 2024, arXiv 2409.01586); the bound is ours"
    assumes: ClassVar[str] = "an attacker who follows the gradient of the rendering loss on all weights"
    cost: ClassVar[str] = "3 gradients"
    Config: ClassVar[type[DefenseConfig]] = BoosterConfig
    config: BoosterConfig
    owns_step: ClassVar[bool] = True
    shows: ClassVar[tuple[str, ...]] = ("target_loss", "loss_after_step")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "radius": DECADES, **LEARNING_RATE}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 3.0

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step."""
        del step
        seen: list[Tensor] = []

        def loss(weights: object) -> Tensor:
            seen.append(context.reconstruction(target, weights))  # type: ignore[arg-type]
            return seen[-1]

        before = weight_gradient(context.model, loss)
        after = weight_gradient(context.model, loss, of_length(before, -self.config.radius))
        kept = context.retained(source)
        here, there = (float(value.detach()) for value in seen)
        weight = 0.0 if there >= self.config.cap else (1 - context.share) * self.config.weight
        set_gradients(context, kept, {name: weight * (before[name] - after[name]) for name in context.trained})
        total = context.share * float(kept.loss.detach()) + weight * (here - there)
        return {"target_loss": here, "loss_after_step": there, **as_numbers(kept.metrics), "total": total}
