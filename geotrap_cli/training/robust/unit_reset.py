"""``robust.unit_reset``: traps where units have lost what the defense gave them, so that no unit alone carries it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geotrap_cli.models.fresh import fresh_weights
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.robust.places import Place
from geotrap_cli.training.robust.streams import Stream, numpy_stream

#: Share of the draws that any unit gets alike; the rest goes by how far the defense has moved a unit.
EVEN = 0.5


class UnitReset:
    """Fresh random weights in one to ``most`` units, drawn anew at each step.

    Half of the chance is the same for every unit, half is in proportion to ``‖θ_u − θ_u⁰‖² / ‖θ_u⁰‖²``, what the
    defense has changed of unit u so far: an attacker resets what carries the defense.

    Args:
        model: The generator, with the undefended weights θ⁰ as yet.
        most: Largest number of units that are reset at once; all, where there are fewer.
        seed: Seed of the training.
    """

    name = "unit_reset"

    def __init__(self, model: GaussianGenerator, most: int, seed: int) -> None:
        self.model, self.seed, self.units = model, seed, model.units()
        self.most = min(most, len(self.units))
        self.start = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.sizes = [_energy(self.start[member] for member in members) for members in self.units.values()]

    def place(self, step: int, images: Tensor) -> Place:
        """Return the weights of ``step``, with fresh ones in the units that are drawn."""
        rng = numpy_stream(self.seed, step, Stream.UNIT_RESET)
        count = int(rng.integers(1, self.most + 1))
        names = list(self.units)
        drawn = rng.choice(len(names), size=count, replace=False, p=self.chances())
        fresh = fresh_weights(self.model, int(rng.integers(2**31)))
        own = dict(self.model.named_parameters())
        # Constants: what a reset unit held plays no part there, so that the loss has no gradient with respect to it.
        members = (member for index in drawn for member in self.units[names[index]])
        return Place(images, {name: fresh[name].to(own[name]) for name in members})

    def chances(self) -> NDArray[np.float64]:
        """Return the chance of each unit to be drawn first, in the order of the generator's units."""
        changes = np.array([self._change(*pair) for pair in zip(self.units.values(), self.sizes, strict=True)])
        even = np.full(len(changes), 1 / len(changes))
        return even if changes.sum() == 0 else EVEN * even + (1 - EVEN) * changes / changes.sum()

    def _change(self, members: Iterable[str], size: float) -> float:
        moved = _energy(self.model.get_parameter(name).detach() - self.start[name] for name in members)
        return moved / size if size > 0 else 0.0


def _energy(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.square().sum()) for tensor in tensors)
