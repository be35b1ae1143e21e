"""Gradients of traps and retention taken apart, treated, and added again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Treated:
    """The traps' gradient after a treatment, and what is reported of it."""

    gradients: list[Tensor]
    metrics: dict[str, float]


class Treatment(Protocol):
    """Changes the gradient of what is minimised on target data; that of the retention is never changed."""

    def __call__(self, trap: Sequence[Tensor], retain: Sequence[Tensor]) -> Treated:
        """Return the new gradient of the traps, one tensor a trained parameter."""
        ...


def backward_apart(
    trap: Tensor, retain: Tensor, parameters: Sequence[nn.Parameter], treatments: Sequence[Treatment]
) -> dict[str, float]:
    """Set ``parameters``' gradients to treated ∂trap + ∂retain and return the treatments' metrics.

    Args:
        trap: What is minimised on target data, weighted.
        retain: What is minimised on source data, weighted; it shares no graph with ``trap``.
        parameters: What is trained.
        treatments: Applied in order, each to what the one before made.
    """
    kept = torch.autograd.grad(retain, parameters, materialize_grads=True)
    gradients: Sequence[Tensor] = torch.autograd.grad(trap, parameters, materialize_grads=True)
    metrics: dict[str, float] = {}
    for treatment in treatments:
        treated = treatment(gradients, kept)
        gradients, metrics = treated.gradients, metrics | treated.metrics
    for parameter, mine, others in zip(parameters, gradients, kept, strict=True):
        parameter.grad = mine + others
    return metrics
