from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.recovery import (
    Censored,
    area_under_recovery,
    best_so_far,
    first_steps,
    log_rank_p_value,
    median_steps,
    recovery_ratio,
    relative_gap,
    resistance,
    slow_down,
    steps_to_recover,
)

STEPS = [0, 10, 20, 40]


def test_ratio_is_zero_at_the_floor_one_at_the_ceiling_and_not_clipped() -> None:
    assert recovery_ratio([10, 15, 20, 8, 22], floor=10, ceiling=20) == pytest.approx([0, 0.5, 1, -0.2, 1.2])


@pytest.mark.parametrize("ceiling", [10.0, 9.0, math.nan])
def test_ratio_without_a_range_is_undefined(ceiling: float) -> None:
    assert all(math.isnan(ratio) for ratio in recovery_ratio([10, 12], 10, ceiling))


def test_ratio_of_many_curves_has_one_scale_each() -> None:
    ratios = recovery_ratio([[10, 15], [10, 15]], floor=[10, 0], ceiling=[20, 20])
    assert ratios.tolist() == [[0.0, 0.5], [0.5, 0.75]]
    assert recovery_ratio([10, math.inf], 10, 20).tolist() == [0.0, math.inf]
    assert np.isnan(recovery_ratio([10, 15], 10, math.inf)).all()


def test_steps_are_those_of_the_first_evaluation_at_the_threshold() -> None:
    assert steps_to_recover(STEPS, [0, 0.4, 0.5, 0.2], 0.5) == 20


def test_recovered_from_the_start_counts_one_interval() -> None:
    assert steps_to_recover(STEPS, [0.6, 0.7, 0.8, 0.9], 0.5) == 10


def test_never_recovered_is_censored_and_prints_so() -> None:
    count = steps_to_recover(STEPS, [0, 0.1, 0.2, 0.3], 0.5)
    assert count == Censored(40)
    assert str(count) == ">40"


def test_diverged_curve_is_unknown_and_not_resistant() -> None:
    assert steps_to_recover(STEPS, [0, math.nan, math.nan, math.nan], 0.5) is None
    assert steps_to_recover(STEPS, [0, 0.6, math.nan, math.nan], 0.5) == 10


@pytest.mark.parametrize(
    ("defended", "reference", "expected"),
    [
        (100, 20, 5.0),
        (Censored(100), 20, Censored(5.0)),
        (100, Censored(100), None),
        (Censored(100), Censored(100), None),
        (None, 20, None),
    ],
)
def test_slow_down(defended: object, reference: object, expected: object) -> None:
    assert slow_down(defended, reference) == expected  # type: ignore[arg-type]


def test_area_of_a_constant_is_the_constant_on_both_axes() -> None:
    assert area_under_recovery(STEPS, [0.3] * 4) == pytest.approx(0.3)
    assert area_under_recovery(STEPS, [0.3] * 4, "log") == pytest.approx(0.3)


def test_area_of_a_triangle_with_uneven_steps() -> None:
    assert area_under_recovery([0, 10, 40], [0, 1, 1]) == pytest.approx((5 + 30) / 40)
    early, late = math.log(11), math.log(41)
    assert area_under_recovery([0, 10, 40], [0, 1, 1], "log") == pytest.approx((early / 2 + late - early) / late)


def test_statistics_of_resamples_are_those_of_each_curve() -> None:
    curves = np.array([[0.0, 0.5, 0.6, 0.7], [0.1, 0.1, 0.1, 0.1], [0.0, math.nan, 0.9, 0.9]])
    found = first_steps(STEPS, curves, 0.5)
    assert found[0] == 10 and found[1] == math.inf and math.isnan(found[2])
    assert area_under_recovery(STEPS, curves)[:2].tolist() == [
        pytest.approx(float(area_under_recovery(STEPS, curve))) for curve in curves[:2]
    ]


def test_relative_gap_keeps_its_sign() -> None:
    assert relative_gap([20, 20, 10], [10, 20, 15]) == pytest.approx([0.5, 0.0, -0.5])
    assert math.isnan(relative_gap([0.0], [1.0])[0])


def test_best_so_far_never_falls_and_takes_no_credit_from_what_diverged() -> None:
    assert best_so_far([0.2, 0.1, math.nan, 0.5]) == [0.2, 0.2, 0.2, 0.5]
    assert math.isnan(best_so_far([math.nan])[0])


def test_undefined_ratio_makes_the_area_undefined() -> None:
    assert math.isnan(area_under_recovery(STEPS, [0, math.nan, 0, 0]))


def test_resistance() -> None:
    assert resistance(0.2, 0.8) == pytest.approx(0.75)
    assert math.isnan(resistance(0.2, 0.0))


def test_median_is_kaplan_meier() -> None:
    assert median_steps([10, 20, 30]) == 20
    # 4 seeds: after 10 and 20 a share of 1/2 is left; the censored ones never count as recovered.
    assert median_steps([10, 20, Censored(40), Censored(40)]) == 20
    assert median_steps([10, Censored(40), Censored(40)]) == Censored(40)
    # A seed lost at 15 leaves 2 at risk: S(20) = 2/3 * 1/2.
    assert median_steps([10, Censored(15), 20, 30]) == 20
    # 24 seeds, half of them censored: the product of shares ends a little above 1/2.
    assert median_steps([*range(1, 13), *12 * [Censored(40)]]) == 12


def test_log_rank_tells_apart_what_differs() -> None:
    fast, slow = [10, 20, 10, 20, 30], [Censored(400)] * 5
    assert log_rank_p_value(slow, fast) < 0.01
    assert log_rank_p_value(fast, fast) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [[0], [0, 0], [10, 5], [-1, 5]])
def test_bad_axes_are_refused(steps: list[int]) -> None:
    with pytest.raises(GeotrapError, match="recovery curve"):
        steps_to_recover(steps, [0.0] * len(steps), 0.5)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(GeotrapError, match="3 steps and 2 ratios"):
        area_under_recovery([0, 1, 2], [0, 1])


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=10), st.floats(0.1, 0.9), st.floats(0, 0.5))
def test_a_higher_threshold_never_takes_fewer_steps(ratios: list[float], threshold: float, more: float) -> None:
    steps = [5 * i for i in range(len(ratios))]

    def rank(count: int | Censored | None) -> float:
        assert count is not None
        return math.inf if isinstance(count, Censored) else count

    assert rank(steps_to_recover(steps, ratios, threshold + more)) >= rank(steps_to_recover(steps, ratios, threshold))
