"""Gradient norms of single objects, unit by unit: one forward pass an object and one backward pass a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError

Scalars = Mapping[str, Sequence[Tensor]]
"""What is differentiated, by name; several scalars under one name are probes of one quantity."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UnitParameters:
    """The parameters of a generator, grouped.

    Attributes:
        names: Units, in the order of the network.
        tensors: All parameters, each once.
        owners: For each tensor the position of its unit in ``names``.
    """

    names: tuple[str, ...]
    tensors: tuple[nn.Parameter, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module, units: Mapping[str, Sequence[str]]) -> UnitParameters:
        """Group the parameters of ``model`` by ``units`` (unit -> parameter names) and let all of them have gradients.

        Raises:
            KeyError: A parameter belongs to no unit.
        """
        owner = {name: position for position, members in enumerate(units.values()) for name in members}
        named = dict(model.named_parameters())
        for parameter in named.values():
            parameter.requires_grad_(True)
        return cls(tuple(units), tuple(named.values()), tuple(owner[name] for name in named))

    def norms(self, tensors: Sequence[Tensor | None]) -> Array:
        """Norm of the tensors of each unit, [U]: the root of their summed squares, in float64; None counts as zero."""
        squares = np.zeros(len(self.names))
        for position, tensor in zip(self.owners, tensors, strict=True):
            if tensor is not None:
                squares[position] += float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2
        return np.sqrt(squares)

    def weight_norms(self) -> Array:
        """Norm of the weights of each unit, [U]."""
        return self.norms([tensor.detach() for tensor in self.tensors])

    def sizes(self) -> NDArray[np.int64]:
        """Number of scalars of each unit, [U]."""
        sizes = np.zeros(len(self.names), dtype=np.int64)
        for position, tensor in zip(self.owners, self.tensors, strict=True):
            sizes[position] += tensor.numel()
        return sizes


def gradient_norms(scalars: Scalars, units: UnitParameters, where: str = "") -> dict[str, Array]:
    """Norm of each quantity's gradient with respect to each unit, [U] per name.

    All scalars share one graph, which is kept until the last of them is done. Over several probes of one quantity the
    squared norms are averaged before the root is taken.

    Args:
        scalars: Scalars inside the autograd graph, by name.
        units: With respect to what.
        where: The object, for the error message.

    Raises:
        NonFiniteError: A norm is NaN or infinite.
    """
    norms = {}
    for name, probes in scalars.items():
        squares = [units.norms(_gradients(probe, units)) ** 2 for probe in probes]
        norms[name] = np.sqrt(np.mean(squares, axis=0))
        broken = np.flatnonzero(~np.isfinite(norms[name]))
        if len(broken):
            raise NonFiniteError(f"the gradient of {name} for {units.names[broken[0]]} is not finite on object {where}")
    return norms


def _gradients(scalar: Tensor, units: UnitParameters) -> Sequence[Tensor | None]:
    if not scalar.requires_grad:
        # A saturated loss that is a constant: its gradient is zero everywhere.
        return [None] * len(units.tensors)
    return torch.autograd.grad(scalar, units.tensors, retain_graph=True, allow_unused=True)
