"""Distances of attributes: relative, on the object, and with a gradient everywhere."""

from __future__ import annotations

import pytest
import torch

from geotrap_cli.gaussians import CHANNELS
from geotrap_cli.training.relative_distance import raw_distance, relative_distance


def test_a_common_factor_does_not_matter() -> None:
    own, wanted = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([2.0, -2.0, 2.0])
    assert relative_distance(own, wanted).item() == pytest.approx(3 / 6)
    assert relative_distance(7 * own, 7 * wanted).item() == pytest.approx(3 / 6)


def test_what_should_be_zero_has_a_finite_distance() -> None:
    assert relative_distance(torch.ones(3), torch.zeros(3)).item() == pytest.approx(1e6)


def test_distance_is_relative_and_on_the_object() -> None:
    wanted = torch.full((1, 4, 14), 2.0)
    raw, covered = wanted.clone(), torch.tensor([[True, True, False, False]])
    raw[..., CHANNELS["means"]] += 1.0
    raw[0, 2:, CHANNELS["rgb"]] = 9.0
    assert raw_distance(raw, wanted, covered).item() == pytest.approx(0.5)
    raw[0, 3, CHANNELS["opacities"]] -= 4.0
    assert raw_distance(raw, wanted, covered).item() == pytest.approx(0.5 + 0.5)
    assert raw_distance(wanted, wanted, torch.zeros(1, 4, dtype=torch.bool)).item() == 0.0


def test_the_gradient_is_exact_and_does_not_saturate() -> None:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 3, 14, generator=generator, dtype=torch.float64).mul(50).requires_grad_()
    wanted = torch.randn(2, 3, 14, generator=generator, dtype=torch.float64)
    covered = torch.ones(2, 3, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda value: raw_distance(value, wanted, covered), raw)
    raw_distance(raw, wanted, covered).backward()
    assert raw.grad is not None
    assert raw.grad.abs().min() > 0
