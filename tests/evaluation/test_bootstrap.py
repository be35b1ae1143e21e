from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import group_means, mean_interval, paired_comparison


def test_group_means_keep_first_appearance_order() -> None:
    np.testing.assert_allclose(group_means([1, 10, 3, 20], ["b", "a", "b", "a"]), [2, 15])


def test_every_group_weighs_the_same() -> None:
    # One group with three variants must not outvote the other.
    assert mean_interval([0, 0, 0, 10], ["a", "a", "a", "b"]).value == 5


def test_interval_covers_what_a_normal_sample_says() -> None:
    values = np.random.default_rng(1).normal(20, 3, 400)
    result = mean_interval(values.tolist(), [str(i) for i in range(400)])
    half = 1.96 * values.std() / 20
    assert result.value == pytest.approx(values.mean())
    assert result.low == pytest.approx(values.mean() - half, abs=0.05)
    assert result.high == pytest.approx(values.mean() + half, abs=0.05)
    assert result.groups == 400


def test_two_groups_give_their_three_possible_means() -> None:
    result = mean_interval([1.0, 3.0], ["a", "b"])
    assert (result.low, result.value, result.high) == (1.0, 2.0, 3.0)


def test_copies_of_an_object_add_no_certainty() -> None:
    values, groups = [1.0, 2.0, 4.0], ["a", "b", "c"]
    assert mean_interval(values, groups) == mean_interval(values * 5, groups * 5)


def test_one_group_has_a_mean_and_no_interval() -> None:
    result = mean_interval([1.0, 2.0], ["a", "a"])
    assert (result.value, result.low, result.high, result.groups) == (1.5, None, None, 1)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_values_that_are_not_finite_stay_and_forbid_an_interval(value: float) -> None:
    result = mean_interval([1.0, value], ["a", "b"])
    assert repr(result.value) == repr(value)
    assert (result.low, result.high) == (None, None)


def test_same_seed_same_interval() -> None:
    values, groups = [1.0, 5.0, 2.0, 9.0], list("abcd")
    assert mean_interval(values, groups, seed=3) == mean_interval(values, groups, seed=3)
    assert mean_interval(values, groups, seed=3, resamples=50) != mean_interval(values, groups, seed=4, resamples=50)


def test_pairing_removes_the_spread_between_objects() -> None:
    undefended = [10.0, 20.0, 30.0, 40.0]
    result = paired_comparison(undefended, [value - 2 for value in undefended], list("abcd"))
    assert (result.difference.low, result.difference.value, result.difference.high) == (-2, -2, -2)
    assert result.defended.value == 23
    assert result.undefended.low is not None
    assert result.undefended.low < 20


def test_ratio_is_that_of_the_means_and_paired() -> None:
    undefended = [10.0, 20.0, 40.0]
    result = paired_comparison(undefended, [value / 2 for value in undefended], list("abc")).ratio
    assert (result.low, result.value, result.high) == pytest.approx((0.5, 0.5, 0.5))
    # 15 / 15, not the mean of 2 and 0.5.
    assert paired_comparison([10, 20], [20, 10], ["a", "b"]).ratio.value == 1


def test_ratio_to_zero_is_undefined() -> None:
    result = paired_comparison([0.0, 0.0], [1.0, 1.0], ["a", "b"])
    assert math.isnan(result.ratio.value)
    assert result.ratio.low is None
    assert result.difference.value == 1


def test_identical_infinities_have_no_difference() -> None:
    assert math.isnan(paired_comparison([math.inf, 1], [math.inf, 1], ["a", "b"]).difference.value)


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], ["a", "b"])])
def test_values_without_their_groups_are_refused(values: list[float], groups: list[str]) -> None:
    with pytest.raises(GeotrapError, match="one group per value"):
        mean_interval(values, groups)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-50, 50))
def test_shifting_all_values_shifts_the_interval(values: list[float], shift: float) -> None:
    groups = [str(i) for i in range(len(values))]
    before = mean_interval(values, groups, resamples=200)
    after = mean_interval([value + shift for value in values], groups, resamples=200)
    assert before.low is not None
    assert before.high is not None
    assert (after.low, after.high) == pytest.approx((before.low + shift, before.high + shift), abs=1e-9)
    assert before.low - 1e-9 <= before.value <= before.high + 1e-9 or len(values) > 3
