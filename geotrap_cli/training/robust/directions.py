"""The gradient over all weights of a generator, frozen ones included, as a direction to step along."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

#: A loss of the generator with the given weights, a scalar.
WeightLoss = Callable[[Mapping[str, Tensor]], Tensor]


def weight_gradient(
    model: nn.Module, loss: WeightLoss, deltas: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return ∇loss at θ, or at θ + δ, by name of the weight, constant; nothing of the model changes."""
    shifts = deltas or {}
    own = {name: _at(value, shifts.get(name)) for name, value in model.named_parameters()}
    gradients = torch.autograd.grad(loss(own), list(own.values()), materialize_grads=True)
    return dict(zip(own, gradients, strict=True))


def norm(gradients: Mapping[str, Tensor]) -> float:
    """Return the L2 norm over all tensors together; NaN where one holds NaN."""
    return float(torch.stack([gradient.double().square().sum() for gradient in gradients.values()]).sum().sqrt())


def of_length(gradients: Mapping[str, Tensor], length: float) -> dict[str, Tensor]:
    """Return length·g/‖g‖. Where g is exactly zero there is no direction, and zero is returned; a NaN goes on."""
    total = norm(gradients)
    return scaled(gradients, 0.0 if total == 0 else length / total)


def scaled(gradients: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return factor·g."""
    return {name: factor * gradient for name, gradient in gradients.items()}


def _at(value: Tensor, delta: Tensor | None) -> Tensor:
    return (value.detach() if delta is None else value.detach() + delta).requires_grad_()
