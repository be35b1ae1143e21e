"""What a simulated attacker trains: tensors of its own beside the generator's weights, which stay as they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from geotrap_cli.training.adapters import Adapter


class Adaptation(Protocol):
    """Trainable tensors, and the shift of the generator's weights that they stand for.

    Attributes:
        parameters: What the simulated attacker trains.
    """

    parameters: list[Tensor]

    def deltas(self) -> dict[str, Tensor]:
        """Return the shift δ of each adapted weight, with a graph to :attr:`parameters`."""
        ...


class FullAdaptation:
    """A shift of the same shape for each weight: fine-tuning as such, starting at zero.

    Args:
        model: The generator.
        names: The weights that are attacked; None means all.
    """

    def __init__(self, model: nn.Module, names: Collection[str] | None = None) -> None:
        chosen = {name: value for name, value in model.named_parameters() if names is None or name in names}
        self._shifts = {name: torch.zeros_like(value).requires_grad_() for name, value in chosen.items()}
        self.parameters = list(self._shifts.values())

    def deltas(self) -> dict[str, Tensor]:
        """Return the shifts."""
        return dict(self._shifts)


@dataclass(frozen=True)
class _Factors:
    down: Tensor
    up: Tensor
    scale: float
    shape: torch.Size

    @property
    def delta(self) -> Tensor:
        return self.scale * (self.up @ self.down).view(self.shape)


class LowRankAdaptation:
    """LoRA (Hu et al. 2021): δ = (α/r)·B·A, with B = 0 and A drawn as PEFT draws it, uniform within ±1/√fan-in.

    A convolution counts as the matrix of its output channels by everything else.

    Args:
        model: The generator.
        adapters: Rank and scale by module name.
        generator: Where A is drawn from.
    """

    def __init__(self, model: nn.Module, adapters: Mapping[str, Adapter], generator: torch.Generator) -> None:
        own = dict(model.named_parameters())
        self._factors = {
            f"{name}.weight": self._start(own[f"{name}.weight"], adapter, generator)
            for name, adapter in adapters.items()
        }
        self.parameters = [tensor for factors in self._factors.values() for tensor in (factors.down, factors.up)]

    @staticmethod
    def _start(weight: Tensor, adapter: Adapter, generator: torch.Generator) -> _Factors:
        rows, fan_in = weight.shape[0], weight[0].numel()
        down = torch.empty(adapter.rank, fan_in, device=weight.device, dtype=weight.dtype)
        down.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        up = weight.new_zeros(rows, adapter.rank)
        return _Factors(down.requires_grad_(), up.requires_grad_(), adapter.scale, weight.shape)

    def deltas(self) -> dict[str, Tensor]:
        """Return δ of each adapted weight."""
        return {name: factors.delta for name, factors in self._factors.items()}


def make_adaptation(
    kind: str, model: nn.Module, adapters: Mapping[str, Adapter], generator: torch.Generator
) -> Adaptation:
    """Return a fresh adaptation: ``full`` over all weights, ``lora`` over the modules of ``adapters``."""
    return FullAdaptation(model) if kind == "full" else LowRankAdaptation(model, adapters, generator)
