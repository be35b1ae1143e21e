"""Energies on problems small enough to differentiate by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.training.shortcut import change_energies, gradient_energies


class TwoTensors(nn.Module):
    """First channel a·x, second b: ∂/∂a = x, ∂/∂b = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0))
        self.b = nn.Parameter(torch.tensor([1.0, 1.0]), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        values = torch.zeros(len(images), 1, 14)
        values = values.index_add(2, torch.tensor([0]), (self.a * images).reshape(-1, 1, 1))
        return GaussianBatch(values.index_add(2, torch.tensor([1]), self.b.sum().expand(len(images), 1, 1)))


def first_two(batch: GaussianBatch) -> Tensor:
    return batch.activated[:, 0, 0] + 2 * batch.activated[:, 0, 1]


def energies(values: list[float], loss: Any = first_two, model: Any = None) -> dict[str, float]:
    generator: Any = model or TwoTensors()
    return gradient_energies(generator, [torch.tensor([value]) for value in values], loss)


def test_energies_are_means_of_squared_gradients() -> None:
    # ∂/∂a is 3 and 1; ∂/∂b is (2, 2) for every object, frozen or not.
    assert energies([3.0, 1.0]) == {"a": pytest.approx(5.0), "b": pytest.approx(8.0), "unused": 0.0}


def test_opposite_objects_do_not_cancel() -> None:
    assert energies([3.0, -3.0])["a"] == pytest.approx(9.0)


def test_a_constant_loss_has_no_energy() -> None:
    assert set(energies([1.0], lambda batch: torch.zeros(len(batch.activated))).values()) == {0.0}


def test_a_broken_gradient_is_no_number() -> None:
    with pytest.raises(NonFiniteError, match="gradient for a is not finite"):
        energies([math.nan])


def test_frozen_tensors_stay_frozen_also_after_an_error() -> None:
    model = TwoTensors()
    with pytest.raises(NonFiniteError):
        energies([math.inf], model=model)
    assert [model.a.requires_grad, model.b.requires_grad] == [True, False]


def test_change_is_the_squared_distance_of_each_tensor() -> None:
    before, after = TwoTensors(), TwoTensors()
    with torch.no_grad():
        after.b.add_(torch.tensor([3.0, 4.0]))
    assert change_energies(after, before) == {"a": 0.0, "b": pytest.approx(25.0), "unused": 0.0}
