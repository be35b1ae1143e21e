"""Statistics of curves whose answers are known, and what a resample may do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.evaluation.curves import (
    QualityCurve,
    area_interval,
    area_ratio,
    count_interval,
    similarity_gap,
    slow_down_interval,
)
from geotrap_cli.evaluation.recovery import Censored

FEW = Resampling(seed=0, resamples=200)
STEPS = (0, 10, 20, 40)


def curve(*rows: list[float], steps: tuple[int, ...] = STEPS) -> QualityCurve:
    """One row of recovery for each group, on a scale from 10 to 20 dB."""
    quality = 10 + 10 * np.array(rows, dtype=np.float64)
    return QualityCurve(steps, quality, np.full(len(rows), 10.0), np.full(len(rows), 20.0))


RISING, FLAT = curve([0, 0.5, 1, 1], [0, 0.5, 1, 1]), curve([0, 0, 0, 0], [0, 0, 0, 0])


def test_equal_groups_leave_nothing_to_chance() -> None:
    area = area_interval(RISING, "linear", FEW)
    assert area.value == pytest.approx((2.5 + 7.5 + 20) / 40)
    assert (area.low, area.high) == (pytest.approx(area.value), pytest.approx(area.value))
    assert area_ratio(FLAT, RISING, "linear", FEW).value == pytest.approx(1.0)
    assert area_ratio(RISING, RISING, "log", FEW).value == pytest.approx(0.0)
    assert area_ratio(RISING, RISING, "log", FEW, complement=False).value == pytest.approx(1.0)


def test_resistance_is_that_of_the_mean_curve_and_its_interval_spans_the_groups() -> None:
    mixed = curve([0, 0, 0, 0], [0, 0.5, 1, 1])
    lost = area_ratio(mixed, RISING, "linear", FEW)
    assert lost.value == pytest.approx(0.5)
    assert (lost.low, lost.high) == (pytest.approx(0.0), pytest.approx(1.0))
    assert lost.groups == 2


def test_similarity_gap_has_mean_peak_and_final_with_sign() -> None:
    base = curve([1, 1, 1, 1], [1, 1, 1, 1])
    other = curve([0, 0, 0.5, 1.2], [0, 0, 0.5, 1.2])
    gap = similarity_gap(other, base, FEW)
    # 20 dB against 10, 15 and 22 dB; the evaluation before the attack does not count.
    assert gap.mean.value == pytest.approx((0.5 + 0.25 - 0.1) / 3)
    assert (gap.peak.value, gap.final.value) == (pytest.approx(0.5), pytest.approx(-0.1))
    assert all(part.value == 0 for part in vars(similarity_gap(base, base, FEW)).values())


def test_counts_are_censored_and_never_imputed() -> None:
    assert count_interval(RISING, 0.9, FEW).value == 20
    slow = count_interval(curve([0, 0, 0, 0.9], [0, 0, 0, 0.1], [0, 0.9, 0.9, 0.9]), 0.5, FEW)
    assert slow.value == 40
    assert (slow.low, slow.high) == (10, Censored(40))
    assert count_interval(FLAT, 0.5, FEW).value == Censored(40)


def test_slow_down_is_a_lower_bound_where_the_defended_side_is_censored() -> None:
    assert slow_down_interval(FLAT, RISING, 0.5, FEW).value == Censored(4.0)
    same = slow_down_interval(RISING, RISING, 0.9, FEW)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    unknown = slow_down_interval(FLAT, FLAT, 0.5, FEW)
    assert (unknown.value, unknown.low, unknown.high) == (None, None, None)


def test_a_bound_that_rests_on_a_censored_resample_is_censored() -> None:
    # Half of the draws of the second group never recover, though the mean curve does.
    mixed = curve([0, 1, 1, 1], [0, 0, 0, 0])
    found = slow_down_interval(mixed, RISING, 0.5, FEW)
    assert found.value == 1.0
    assert isinstance(found.high, Censored)
    assert found.low == 1.0


def test_a_diverged_curve_gives_no_number() -> None:
    broken = curve([0, math.nan, 1, 1], [0, 0.2, 1, 1])
    assert math.isnan(area_interval(broken, "linear", FEW).value)
    assert count_interval(broken, 0.5, FEW).value is None
    assert slow_down_interval(broken, RISING, 0.5, FEW).low is None


def test_a_side_that_was_cut_short_is_compared_as_far_as_it_goes() -> None:
    assert area_ratio(FLAT.until(2), RISING, "linear", FEW).value == pytest.approx(1.0)
    assert math.isnan(area_ratio(FLAT.until(1), RISING, "linear", FEW).value)
    assert math.isnan(similarity_gap(FLAT.until(1), RISING, FEW).final.value)
    assert count_interval(FLAT.until(1), 0.5, FEW).value is None
    with pytest.raises(GeotrapError, match="evaluated after"):
        area_ratio(FLAT, curve([0, 0, 0, 0], [0, 0, 0, 0], steps=(0, 10, 20, 30)), "linear", FEW)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(GeotrapError, match="shapes"):
        QualityCurve(STEPS, np.zeros((2, 4)), np.zeros(2), np.zeros(3))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=2, max_size=5))
def test_an_undefended_model_in_the_defended_slot_shows_no_effect(rows: list[list[float]]) -> None:
    both = curve(*[[0.0, *row[:2], 1.0] for row in rows])
    assert area_ratio(both, both, "linear", FEW).value == pytest.approx(0.0, abs=1e-12)
    assert similarity_gap(both, both, FEW).mean.value == 0.0
    for threshold in (0.5, 0.9):
        assert slow_down_interval(both, both, threshold, FEW).value == 1.0
