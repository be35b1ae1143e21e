"""Gradient norms against gradients worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.sensitivity.gradients import UnitParameters, gradient_norms
from geotrap_cli.sensitivity.samples import SampleNorms, measure_samples


class Planar(nn.Module):
    """Raw means are a·x + b in the first coordinate of one Gaussian; d is not used at all."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.3]))
        self.b = nn.Parameter(torch.tensor([0.2]))
        self.d = nn.Parameter(torch.tensor([5.0, 12.0]))

    def forward(self, x: Tensor) -> Tensor:
        first = (self.a * x + self.b).reshape(-1, 1, 1)
        return torch.cat([first, torch.ones(len(x), 1, 13)], dim=-1)

    def forward_gaussians(self, x: Tensor) -> GaussianBatch:
        return activate(self(x))


UNITS = {"line": ["a", "b"], "unused": ["d"]}


@dataclass
class Views:
    images: Tensor
    ids: list[str]

    def to(self, device: torch.device) -> Views:
        return self


@dataclass
class Stream:
    """One object a sample, each a single number x."""

    values: list[float]

    def batch(self, place: int) -> Views:
        return Views(torch.tensor([self.values[place]]), self.ids_at([place]))

    def ids_at(self, places: Iterable[int]) -> list[str]:
        return [f"o{place}" for place in places]


@pytest.fixture
def units() -> UnitParameters:
    return UnitParameters.of(Planar(), UNITS)


@pytest.fixture
def measure_all() -> Callable[..., SampleNorms]:
    def run(values: list[float], measure: Any) -> SampleNorms:
        model = Planar()
        groups = {f"o{index}": f"g{index}" for index in range(len(values))}
        parts = UnitParameters.of(model, UNITS)
        stream: Any = Stream(values)
        return measure_samples(model, parts, stream, range(len(values)), measure, groups)  # type: ignore[arg-type]

    return run


def first_mean(gaussians: GaussianBatch, batch: Any, place: int) -> dict[str, list[Tensor]]:
    return {"m": [gaussians.means[..., 0].sum()], "square": [gaussians.means[..., 0].square().sum()]}


def test_norms_of_single_objects_equal_a_hand_computation(measure_all: Callable[..., SampleNorms]) -> None:
    values = [1.0, -2.0, 0.5]
    found = measure_all(values, first_mean)
    # d(ax + b) = (x, 1); d(ax + b)² = 2(ax + b)·(x, 1).
    expected = [math.hypot(x, 1) for x in values]
    np.testing.assert_allclose(found.norms["m"], [[norm, 0.0] for norm in expected], rtol=1e-6)
    squares = [abs(2 * (0.3 * x + 0.2)) * norm for x, norm in zip(values, expected, strict=True)]
    np.testing.assert_allclose(found.norms["square"], [[norm, 0.0] for norm in squares], rtol=1e-6)
    assert found.groups == ("g0", "g1", "g2")


def test_opposite_gradients_do_not_cancel(measure_all: Callable[..., SampleNorms]) -> None:
    def signed(gaussians: GaussianBatch, batch: Any, place: int) -> dict[str, list[Tensor]]:
        return {"m": [(-1) ** place * gaussians.means[..., 0].sum()]}

    # The mean of the two gradients is zero, the mean of their norms is not.
    np.testing.assert_allclose(measure_all([1.0, 1.0], signed).norms["m"][:, 0], [math.sqrt(2)] * 2, rtol=1e-6)


def test_probes_are_averaged_as_squares(units: UnitParameters) -> None:
    a = units.tensors[0]
    found = gradient_norms({"phi": [3.0 * a.sum(), 4.0 * a.sum()]}, units)
    assert found["phi"][0] == pytest.approx(math.sqrt((9 + 16) / 2))


def test_a_constant_loss_has_no_gradient(units: UnitParameters) -> None:
    np.testing.assert_array_equal(gradient_norms({"flat": [torch.tensor(3.0)]}, units)["flat"], [0.0, 0.0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_gradient_is_an_error_that_names_its_place(units: UnitParameters, value: float) -> None:
    with pytest.raises(NonFiniteError, match="the gradient of loss for line is not finite on object mug/3"):
        gradient_norms({"loss": [units.tensors[1].sum() * value]}, units, "mug/3")


def test_sizes_and_weights(units: UnitParameters) -> None:
    np.testing.assert_array_equal(units.sizes(), [2, 2])
    np.testing.assert_allclose(units.weight_norms(), [math.hypot(0.3, 0.2), 13.0], rtol=1e-6)


def test_tiny_gradients_do_not_vanish_when_squared(units: UnitParameters) -> None:
    # 1e-30 squared is zero in float32.
    assert gradient_norms({"m": [units.tensors[0].sum() * 1e-30]}, units)["m"][0] == pytest.approx(1e-30)


def test_frozen_weights_are_measured_too() -> None:
    model = Planar().requires_grad_(False)
    parts = UnitParameters.of(model, UNITS)
    assert gradient_norms({"m": [model(torch.tensor([1.0]))[..., 0].sum()]}, parts)["m"][0] > 0


def test_a_parameter_outside_all_units_is_refused() -> None:
    with pytest.raises(KeyError, match="d"):
        UnitParameters.of(Planar(), {"line": ["a", "b"]})
