"""Collapse trap: weights from which one step of fine-tuning leads to a degenerate model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.robust.directions import scaled, weight_gradient
from geotrap_cli.training.robust.places import shifted
from geotrap_defenses._mix import mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE


class CtrapConfig(DefenseConfig):
    """Options of the collapse trap."""

    weight: float = Field(default=50.0, gt=0, description="Weight of the collapse beside the distillation.")
    lr: float = Field(default=1.0, gt=0, description="a, length of the simulated step per unit of its gradient.")


class CtrapDefense(Defense):
    """p·K_distill(θ) + (1 − p)·λ·L_collapse(θ − a·∇L(θ; D_H); D_gen), the simulated step constant for the gradient.

    L is the rendering loss of an attacker over all weights. L_collapse = mean ‖means‖² + mean opacity² pulls towards
    one fixed degenerate output, and is measured on general data, here source objects, so that who fine-tunes towards
    the target loses everything. Source: CTRAP (arXiv 2505.16559), known to us second-hand; the collapsed output is our
    choice for Gaussians.
    """

    key: ClassVar[str] = "ctrap"
    summary: ClassVar[str] = "a model that collapses after a step of fine-tuning on target objects"
    source: ClassVar[str] = "CTRAP (arXiv 2505.16559), second-hand"
    assumes: ClassVar[str] = "an attacker who follows the gradient of the rendering loss on all weights"
    cost: ClassVar[str] = "3 gradients"
    Config: ClassVar[type[DefenseConfig]] = CtrapConfig
    config: CtrapConfig
    shows: ClassVar[tuple[str, ...]] = ("collapse",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "lr": DECADES, **LEARNING_RATE}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 3.0

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step."""
        del step
        context = self.context
        uphill = weight_gradient(context.model, lambda weights: context.reconstruction(target, weights))
        weights = shifted(context.model, scaled(uphill, -self.config.lr))
        collapse = collapsed(context.gaussians(source.images, weights))
        kept = context.retained(source)
        return mixed(context.share, kept, self.config.weight * collapse, {"collapse": collapse})


def collapsed(gaussians: GaussianBatch) -> Tensor:
    """Return mean ‖means‖² + mean opacity² over all Gaussians: zero where all are transparent at the origin."""
    return gaussians.means.square().sum(dim=-1).mean() + gaussians.opacities.square().mean()
