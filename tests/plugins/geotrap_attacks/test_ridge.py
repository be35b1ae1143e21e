"""The closed-form fit against numpy's solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geotrap_attacks._ridge import RidgeSums
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geotrap_cli.errors import GeotrapError


def rows(seed: int, count: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 5, generator=rng) * torch.tensor([1.0, 3.0, 0.1, 1.0, 10.0]) + 2.0
    return features, torch.randn(count, 2, generator=rng) - 1.0, torch.rand(count, generator=rng)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1e-2, 1.0]))
def test_it_is_the_augmented_least_squares_of_numpy(seed: int, penalty: float) -> None:
    features, targets, weights = rows(seed)
    sums = RidgeSums(5, 2)
    for part in (slice(0, 7), slice(7, 40)):
        sums.add(features[part], targets[part], weights[part])
    coefficients, intercept = sums.solve(penalty)

    x, y, w = (tensor.double().numpy() for tensor in (features, targets, weights))
    w = w / w.sum()
    centred_x, centred_y = x - w @ x, y - w @ y
    strength = penalty * (w @ centred_x**2).mean()
    left = np.concatenate((np.sqrt(w)[:, None] * centred_x, np.sqrt(strength) * np.eye(5)))
    right = np.concatenate((np.sqrt(w)[:, None] * centred_y, np.zeros((5, 2))))
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    np.testing.assert_allclose(coefficients.numpy(), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(intercept.numpy(), w @ y - (w @ x) @ expected, rtol=1e-6, atol=1e-7)


def test_a_linear_map_is_found_and_rows_without_weight_do_not_count() -> None:
    features, _, _ = rows(0)
    true = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    targets, weights = features @ true + 3.0, torch.ones(40)
    targets[:5], weights[:5] = 1e6, 0.0
    sums = RidgeSums(5, 2)
    sums.add(features, targets, weights)
    coefficients, intercept = sums.solve(1e-12)
    torch.testing.assert_close(coefficients.float(), true, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(intercept.float(), torch.full((2,), 3.0), atol=1e-3, rtol=1e-3)


def test_constant_features_leave_the_mean() -> None:
    sums = RidgeSums(3, 1)
    sums.add(torch.ones(4, 3), torch.tensor([[1.0], [2.0], [3.0], [6.0]]), torch.ones(4))
    coefficients, intercept = sums.solve(1e-3)
    assert coefficients.abs().max() < 1e-9
    assert float(intercept) == pytest.approx(3.0)


@pytest.mark.parametrize(("value", "weight"), [(1.0, 0.0), (float("nan"), 1.0)])
def test_nothing_to_fit_is_an_error(value: float, weight: float) -> None:
    sums = RidgeSums(1, 1)
    sums.add(torch.full((2, 1), value), torch.ones(2, 1), torch.full((2,), weight))
    with pytest.raises(GeotrapError, match="nothing to fit"):
        sums.solve(1.0)
