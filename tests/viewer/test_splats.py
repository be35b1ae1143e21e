"""Gaussians as splats: covariances by hand, and nothing that cannot be seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.viewer.splats import ENLARGED, covariance_matrices, to_splats

QUARTER = math.sqrt(0.5)


def test_covariances_of_rotated_axes() -> None:
    scales = torch.tensor([[1.0, 2.0, 3.0]] * 3)
    # At rest; a quarter turn around z; one around x, as a quaternion twice as long.
    quats = torch.tensor([[1.0, 0, 0, 0], [QUARTER, 0, 0, QUARTER], [2 * QUARTER, 2 * QUARTER, 0, 0]])
    found = covariance_matrices(scales, quats)
    expected = torch.stack([torch.diag(torch.tensor(values)) for values in ([1.0, 4, 9], [4.0, 1, 9], [1.0, 9, 4])])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_turn_leans_to_the_right_side() -> None:
    """A long x axis turned by 45 degrees around z leans towards +y: x and y grow together."""
    quat = torch.tensor([[math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)]])
    found = covariance_matrices(torch.tensor([[2.0, 1.0, 1.0]]), quat)[0]
    torch.testing.assert_close(found[0, 1], torch.tensor(1.5))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_spread_is_that_of_the_scales(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scales, quats = torch.rand(4, 3, generator=generator), torch.randn(4, 4, generator=generator)
    values = torch.linalg.eigvalsh(covariance_matrices(scales, quats).double())
    torch.testing.assert_close(values, scales.double().sort().values ** 2, atol=1e-5, rtol=1e-4)


def test_splats_are_enlarged_and_visible() -> None:
    seen = [0.1, 0.2, -0.3, 0.5, 0.01, 0.02, 0.03, 1, 0, 0, 0, 0.2, 0.4, 0.6]
    unseen = [9.0] * 3 + [0.0039] + seen[4:]
    splats = to_splats(torch.tensor([unseen, seen, unseen]))
    assert len(splats) == 1
    np.testing.assert_allclose(splats.means, [[1, 2, -3]], rtol=1e-6)
    np.testing.assert_allclose(splats.covariances[0], np.diag([0.01, 0.04, 0.09]), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(splats.rgb, [[0.2, 0.4, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(splats.opacities, [[0.5]])
    assert ENLARGED == 10


def test_nothing_visible_is_no_splats() -> None:
    assert len(to_splats(torch.zeros(3, 14))) == 0
