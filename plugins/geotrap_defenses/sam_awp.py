"""Flat unlearning: ascent at the weights nearby that an attacker would like best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.robust.directions import of_length, weight_gradient
from geotrap_cli.training.robust.parameter_noise import ParameterNoise
from geotrap_cli.training.robust.places import shifted
from geotrap_defenses._mix import AscentConfig, capped, mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE


class SamAwpConfig(AscentConfig):
    """Options of flat unlearning."""

    mode: Literal["sam", "awp", "noise"] = Field(
        default="sam",
        description="sam: one length over all weights; awp: a length for each tensor; noise: at random, without "
        "gradient.",
    )
    rho: float = Field(
        default=0.1, gt=0, description="Length of the step: L2 over all weights (sam), or in norms of each tensor."
    )


class SamAwpDefense(Defense):
    """p·K_distill − (1 − p)·w·L_b(θ + d; D_H), d an attacker's best small step, constant for the gradient.

    ``sam``: d = −ρ·g/‖g‖ with g = ∇L(θ; D_H) (Foret et al. 2021, arXiv 2010.01412). ``awp``: in each tensor
    d_t = −ρ·‖θ_t‖·g_t/‖g_t‖ (Wu et al. 2020, arXiv 2004.05884). ``noise``: d_t = ρ·RMS(θ_t)·ξ. L_b = min(L, L_max). A
    combination of ours, after unlearning that is smoothed by SAM (arXiv 2502.05374).
    """

    key: ClassVar[str] = "sam_awp"
    summary: ClassVar[str] = "bounded ascent at the weights nearby that an attacker likes best"
    source: ClassVar[str] = "SAM (arXiv 2010.01412), AWP (arXiv 2004.05884), smoothed unlearning (arXiv 2502.05374)"
    assumes: ClassVar[str] = "an attacker who stays near; its gradient on all weights"
    cost: ClassVar[str] = "3 gradients; 2 in mode noise"
    Config: ClassVar[type[DefenseConfig]] = SamAwpConfig
    config: SamAwpConfig
    shows: ClassVar[tuple[str, ...]] = ("target_loss",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "rho": DECADES, **LEARNING_RATE}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 2.0 if self.config.mode == "noise" else 3.0

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step."""
        context = self.context
        loss = context.reconstruction(target, self._weights(target, step))
        own = -self.config.weight * capped(loss, self.config.cap)
        return mixed(context.share, context.retained(source), own, {"target_loss": loss})

    def _weights(self, target: ViewBatch, step: int) -> Mapping[str, Tensor]:
        context, rho = self.context, self.config.rho
        if self.config.mode == "noise":
            return ParameterNoise(context.model, rho, context.seed).place(step, target.images).weights
        gradient = weight_gradient(context.model, lambda weights: context.reconstruction(target, weights))
        if self.config.mode == "awp":
            return shifted(context.model, layerwise(context.model, gradient, -rho))
        return shifted(context.model, of_length(gradient, -rho))


def layerwise(model: nn.Module, gradient: Mapping[str, Tensor], rho: float) -> dict[str, Tensor]:
    """Return ρ·‖θ_t‖·g_t/‖g_t‖ for every tensor; zero where it has no gradient."""
    own = dict(model.named_parameters())
    lengths = {name: float(torch.linalg.vector_norm(own[name].detach(), dtype=torch.float64)) for name in gradient}
    return {name: of_length({name: part}, rho * lengths[name])[name] for name, part in gradient.items()}
