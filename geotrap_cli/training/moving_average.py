"""Exponential moving average of weights: the average generalises better than the last step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch


class MovingAverage:
    """Shadow copy θ' ← d·θ' + (1 − d)·θ with d rising from 0 to ``decay`` over the first steps.

    Args:
        parameters: The weights to follow, by name.
        decay: d after the rise; 0 follows exactly.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.shadow = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` finished steps."""
        # A constant decay would remember the random initialisation for thousands of steps.
        decay = min(self.decay, step / (step + 10.0))
        names = list(self.parameters)
        shadow = [self.shadow[name] for name in names]
        torch._foreach_lerp_(shadow, [self.parameters[name].detach() for name in names], 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the model for the duration of the block."""
        kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._write(self.shadow)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
