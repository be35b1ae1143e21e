"""Self-destruction: the attacker's gradient coupled to the one that ruins what is retained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.errors import UsageError
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.device_options import TF32_CAPABILITY
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.directions import norm, of_length, scaled, weight_gradient
from geotrap_defenses._mix import as_numbers, set_gradients
from geotrap_defenses._search import DECADES, LEARNING_RATE

Gradients = dict[str, Tensor]
LEAST_LOSS = 1e-12
"""What a loss of zero counts as under the logarithm."""


class SeamConfig(DefenseConfig):
    """Options of self-destruction."""

    weight: float = Field(default=10.0, gt=0, description="b, weight of the cosine of the two gradients.")
    unlearn_weight: float = Field(default=1.0, ge=0, description="Weight of -log L on target objects; 0: none.")
    epsilon: float = Field(
        default=1e-3, gt=0, description="Length of the steps of the finite difference (L2 over all trained weights)."
    )


class SeamDefense(Defense):
    """p·K_distill + (1 − p)·[b·cos(g_H, g_R) − u·log L(D_H)], g_H = ∇L(θ; D_H) and g_R = ∇L(θ; D_R).

    At a cosine of −1 every step that helps on target objects harms source objects by as much. With unit vectors ĝ and
    c the cosine, its gradient H_R(ĝ_H − c·ĝ_R)/‖g_R‖ + H_H(ĝ_R − c·ĝ_H)/‖g_H‖ is taken without Hessians, by forward
    differences of length ε. Gradients are those of the trained weights. Source: SEAM (arXiv 2505.12186), second-hand;
    that the unlearning is a logarithm is our inference, and keeps it from running away.
    """

    key: ClassVar[str] = "seam"
    summary: ClassVar[str] = "fine-tuning on target objects made to harm source objects"
    source: ClassVar[str] = "SEAM (arXiv 2505.12186), second-hand"
    assumes: ClassVar[str] = "an attacker who follows the gradient and wants the source to stay"
    cost: ClassVar[str] = "5 gradients"
    Config: ClassVar[type[DefenseConfig]] = SeamConfig
    config: SeamConfig
    owns_step: ClassVar[bool] = True
    renders_source: ClassVar[bool] = True
    shows: ClassVar[tuple[str, ...]] = ("cosine", "target_loss")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "unlearn_weight": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Refuse what the finite difference cannot work with.

        Raises:
            UsageError: The generator computes in bf16, or in TF32, which PyTorch's convolutions on CUDA do by default.
        """
        super().prepare(context)
        if context.precision != "fp32":
            raise UsageError("defense.seam: a finite difference needs fp32", "Add --set train.precision=fp32")
        if computes_in_tf32(context.device):
            raise UsageError("defense.seam: a finite difference needs fp32, not TF32", "Add --set device.tf32=false")

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 5.0

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step."""
        del step
        target_loss, harm = self._gradient(context, target)
        _, use = self._gradient(context, source)
        cosine, coupling = self._coupling(context, source, target, harm, use)
        kept = context.retained(source)
        share, pull = 1 - context.share, self.config.unlearn_weight / max(target_loss, LEAST_LOSS)
        own = {name: share * (self.config.weight * coupling[name] - pull * harm[name]) for name in harm}
        set_gradients(context, kept, own)
        return {"cosine": cosine, "target_loss": target_loss, **as_numbers(kept.metrics)}

    def _coupling(
        self, context: DefenseContext, source: ViewBatch, target: ViewBatch, harm: Gradients, use: Gradients
    ) -> tuple[float, Gradients]:
        """Return the cosine and its gradient; where a gradient is zero there is no angle, and nothing to couple."""
        lengths = norm(harm), norm(use)
        if 0.0 in lengths:
            return 0.0, scaled(harm, 0.0)
        towards_harm, towards_use = of_length(harm, 1.0), of_length(use, 1.0)
        cosine = sum(float((towards_harm[name].double() * towards_use[name]).sum()) for name in harm)
        epsilon = self.config.epsilon
        first = {name: epsilon * (towards_harm[name] - cosine * towards_use[name]) for name in harm}
        second = {name: epsilon * (towards_use[name] - cosine * towards_harm[name]) for name in harm}
        _, use_there = self._gradient(context, source, first)
        _, harm_there = self._gradient(context, target, second)
        return cosine, {
            name: (use_there[name] - use[name]) / (epsilon * lengths[1])
            + (harm_there[name] - harm[name]) / (epsilon * lengths[0])
            for name in harm
        }

    @staticmethod
    def _gradient(
        context: DefenseContext, batch: ViewBatch, deltas: Gradients | None = None
    ) -> tuple[float, Gradients]:
        """Return the rendering loss and its gradient over the trained weights, at θ + δ."""
        seen: list[float] = []

        def loss(weights: Mapping[str, Tensor]) -> Tensor:
            value = context.reconstruction(batch, weights)
            seen.append(float(value.detach()))
            return value

        gradients = weight_gradient(context.model, loss, deltas)
        return seen[0], {name: gradients[name] for name in context.trained}


def computes_in_tf32(device: torch.device) -> bool:
    """Return whether convolutions or matrix products in fp32 may be rounded to TF32 on the device, 10 bits a number."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        return False
    return torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
