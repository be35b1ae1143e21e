"""Distances between clouds with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.clouds import Points, chamfer_distance, cloud_metrics, f_score, visible_points
from geotrap_cli.gaussians import GaussianBatch

EMPTY = np.empty((0, 3))


def cloud(*points: tuple[float, float, float]) -> Points:
    return np.array(points, dtype=np.float64)


CORNERS = cloud((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_a_cloud_is_at_no_distance_from_itself() -> None:
    assert cloud_metrics(CORNERS, CORNERS[::-1]) == {"chamfer": 0.0, "fscore": 1.0}


def test_a_shift_smaller_than_half_the_spacing_is_the_distance() -> None:
    shifted = CORNERS + np.array([0, 0, 0.1])
    assert chamfer_distance(shifted, CORNERS) == pytest.approx(0.1)
    assert f_score(shifted, CORNERS) == 0.0
    assert f_score(shifted, CORNERS, distance=0.11) == 1.0


def test_a_floater_costs_precision_and_a_hole_costs_recall() -> None:
    floater = np.vstack([CORNERS, [[0, 0, 5]]])
    # Precision 4/5, recall 1; the floater is 4 away from the nearest corner.
    assert f_score(floater, CORNERS) == pytest.approx(2 * 0.8 / 1.8)
    assert chamfer_distance(floater, CORNERS) == pytest.approx((4 / 5 + 0) / 2)
    assert f_score(CORNERS[:1], CORNERS) == pytest.approx(2 * 0.25 / 1.25)
    assert chamfer_distance(CORNERS[:1], CORNERS) == pytest.approx((0 + 3 / 4) / 2)


def test_what_is_empty_is_infinitely_far_and_two_empty_clouds_are_undefined() -> None:
    for pair in ((EMPTY, CORNERS), (CORNERS, EMPTY)):
        assert (chamfer_distance(*pair), f_score(*pair)) == (math.inf, 0.0)
    assert math.isnan(chamfer_distance(EMPTY, EMPTY)) and math.isnan(f_score(EMPTY, EMPTY))


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=8), st.floats(-0.5, 0.5))
def test_symmetric_and_blind_to_order(points: list[tuple[float, float, float]], shift: float) -> None:
    first, second = cloud(*points), cloud(*points)[::-1] + shift
    assert chamfer_distance(first, second) == pytest.approx(chamfer_distance(second, first))
    assert f_score(first, second) == pytest.approx(f_score(second, first[::-1]))
    assert chamfer_distance(first, second) <= abs(shift) * 3**0.5 + 1e-9


def test_only_gaussians_that_can_be_seen_count() -> None:
    activated = torch.zeros(2, 3, 14)
    activated[..., 0] = torch.arange(3)
    activated[0, :, 3] = torch.tensor([0.05, 0.1, 0.9])
    first, second = visible_points(GaussianBatch(activated))
    assert first[:, 0].tolist() == [1.0, 2.0]
    assert second.shape == (0, 3)


def test_a_cloud_of_another_shape_is_refused() -> None:
    with pytest.raises(GeotrapError, match=r"\[n, 3\]"):
        chamfer_distance(np.zeros((4, 2)), CORNERS)
