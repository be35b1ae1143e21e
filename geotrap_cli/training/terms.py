"""What the parts of the defense's objective hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from geotrap_cli.gaussians import GaussianBatch


@dataclass(frozen=True)
class Term:
    """A part of the minimised loss.

    Attributes:
        loss: The value that is minimised, a scalar with a graph; what it is weighted with is the objective's matter.
        metrics: What is reported of it, by name, scalars.
    """

    loss: torch.Tensor
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetPass:
    """What a term on target data is computed from.

    Attributes:
        step: Number of the step, 0 for the first.
        images: Input of the generator, [B, V, 9, H, W].
        gaussians: What the generator makes of it with the weights as they are, with a graph.
        losses: Static loss of each trap per object, [B].
    """

    step: int
    images: torch.Tensor
    gaussians: GaussianBatch
    losses: dict[str, torch.Tensor]


class TargetTerm(Protocol):
    """A loss on target data beside the aggregated traps, in their unit: both have the same weight."""

    def __call__(self, target: TargetPass) -> Term:
        """Return the term of one step."""
        ...
