"""How a defense's own term and the retention become one loss, and how an ascent is kept from running away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.defenses import DefenseConfig, LossTerms
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.terms import Term

Cap = Annotated[
    float, Field(gt=0, description="Attacker's loss from which on nothing pushes: bad enough (units of the loss).")
]


class AscentConfig(DefenseConfig):
    """Options of what makes the attacker's loss larger."""

    weight: float = Field(default=50.0, gt=0, description="Weight of the defense's term beside the distillation.")
    cap: Cap = 0.5


def capped(loss: Tensor, cap: float) -> Tensor:
    """Return min(L, L_max): an ascent on it ends where the loss is bad enough."""
    return loss.clamp(max=cap)


def mixed(share: float, kept: Term, own: Tensor, metrics: Mapping[str, Tensor]) -> LossTerms:
    """Return p·K_distill + (1 − p)·own as ``total``, beside the metrics of both.

    Args:
        share: p.
        kept: K_distill, weighted as ``[retain]`` says.
        own: What the defense minimises beside it, weighted.
        metrics: What is reported of that.
    """
    return {**metrics, **kept.metrics, "total": share * kept.loss + (1 - share) * own}


def backward(terms: LossTerms) -> Metrics:
    """Run backward from ``total`` and return all terms as numbers."""
    terms["total"].backward()
    return as_numbers(terms)


def as_numbers(terms: Mapping[str, Tensor]) -> Metrics:
    """Return terms as the loop reports them."""
    return {name: float(value.detach()) for name, value in terms.items()}


def set_gradients(context: DefenseContext, kept: Term, own: Mapping[str, Tensor]) -> None:
    """Set the gradients of what is trained to p·∇K_distill + ``own``, weighted directions by name."""
    retained = torch.autograd.grad(kept.loss, context.parameters, materialize_grads=True)
    for (name, parameter), keeping in zip(context.trained.items(), retained, strict=True):
        parameter.grad = context.share * keeping + own[name]
