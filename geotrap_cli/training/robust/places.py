"""Where else the traps are evaluated: other weights, other images.

A place holds shifted weights as tensors of their own, and the generator is called with them. The model's own weights
never change, so nothing has to be put back before the backward pass, and the backward pass runs at the shifted
weights. As a shifted weight is θ + δ with a constant δ, its gradient is the gradient of θ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.precision import autocast


@dataclass(frozen=True)
class Place:
    """Weights and images with which the traps are evaluated.

    Attributes:
        images: Input of the generator, [B, V, 9, H, W].
        weights: Weights that differ from the generator's own, by parameter name; empty: none does.
    """

    images: Tensor
    weights: Mapping[str, Tensor]


class Perturbation(Protocol):
    """Finds one place a step. What it draws depends on (seed, step) alone.

    Attributes:
        name: The metric of the aggregated traps at the place is called ``<name>_static``.
    """

    name: str

    def place(self, step: int, images: Tensor) -> Place:
        """Return the place of ``step`` (0 for the first) for target images [B, V, 9, H, W]."""
        ...


def shifted(model: nn.Module, deltas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return θ + δ for every parameter that has a δ; gradients flow to θ, none to δ."""
    own = dict(model.named_parameters())
    return {name: own[name] + delta.detach() for name, delta in deltas.items()}


def attacked(model: nn.Module, deltas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every weight as an attacker has it, θ + δ where it has a δ; gradients flow to δ, none to θ."""
    weights = {name: value.detach() for name, value in model.named_parameters()}
    return weights | {name: weights[name] + delta for name, delta in deltas.items()}


def gaussians_at(model: GaussianGenerator, place: Place, precision: str, device: torch.device) -> GaussianBatch:
    """Return what the generator makes of the place's images with the place's weights."""
    with autocast(precision, device):
        raw = functional_call(model, dict(place.weights), (place.images,))
    return model.activate(raw)
