"""Whether a defense rests on a few tensors: how the traps' gradient and the change of the weights spread.

A trap that hangs on a handful of tensors is a shortcut: an attacker who finds them undoes it cheaply.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator

Energies = dict[str, float]


def gradient_energies(
    model: GaussianGenerator, images: Iterable[Tensor], loss: Callable[[GaussianBatch], Tensor]
) -> Energies:
    """Return ‖∂ loss/∂ tensor‖² for every tensor of the generator, the mean over objects.

    All tensors take part, whether they were trained or not, because an attacker may train any. Gradients are taken
    object by object, so that those of two objects cannot cancel.

    Args:
        model: The generator; which of its tensors require gradients is as before when this returns.
        images: Input of one object each, ``[1, V, 9, H, W]``.
        loss: Gives one number per object, ``[1]``.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    tensors = dict(model.named_parameters())
    energies, objects = dict.fromkeys(tensors, 0.0), 0
    with _all_require_gradients(model):
        for one in images:
            objects += 1
            for name, gradient in _gradients(loss(model.forward_gaussians(one)).sum(), tensors).items():
                energies[name] += _energy(gradient)
    broken = next((name for name, energy in energies.items() if not energy < float("inf")), None)
    if broken is not None:
        raise NonFiniteError(f"the traps' gradient for {broken} is not finite")
    return {name: energy / max(1, objects) for name, energy in energies.items()}


def change_energies(model: nn.Module, reference: nn.Module) -> Energies:
    """Return ‖θ − θ0‖² for every tensor of ``model`` against the same tensor of ``reference``."""
    before = dict(reference.named_parameters())
    return {name: _energy(after.detach() - before[name].detach()) for name, after in model.named_parameters()}


@contextlib.contextmanager
def _all_require_gradients(model: nn.Module) -> Iterator[None]:
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(True)
        yield
    finally:
        for parameter, required in wanted:
            parameter.requires_grad_(required)


def _gradients(loss: Tensor, tensors: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    if not loss.requires_grad:
        # A trap that is met without exception is a constant: its gradient is zero everywhere.
        return {}
    found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(tensors, found, strict=True) if gradient is not None}


def _energy(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2
