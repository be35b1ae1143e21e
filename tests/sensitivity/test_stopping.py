from __future__ import annotations

import math

import pytest

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.sensitivity.stopping import Precision, relative_half_width, widest_unit


@pytest.mark.parametrize(
    ("ratio", "width"),
    [
        (Interval(2.0, 1.5, 2.7, 8), 0.3),
        (Interval(2.0, 2.0, 2.0, 8), 0.0),
        (Interval(0.0, 0.0, 0.0, 8), 0.0),
        (Interval(0.0, 0.0, 1.0, 8), math.inf),
        (Interval(2.0, None, None, 1), math.inf),
        (Interval(math.nan, None, None, 8), math.nan),
    ],
)
def test_relative_half_width(ratio: Interval, width: float) -> None:
    assert relative_half_width(ratio) == pytest.approx(width, nan_ok=True)


def test_the_widest_unit_is_found_and_units_without_a_ratio_say_nothing() -> None:
    undefined, narrow, wide = Interval(math.nan, None, None, 8), Interval(1, 0.9, 1.1, 8), Interval(1, 0.5, 1.5, 8)
    assert widest_unit(["a", "b", "c"], [undefined, wide, narrow]) == (pytest.approx(0.5), "b")
    assert widest_unit(["a"], [undefined]) == (math.inf, "")


def test_without_a_wish_the_first_samples_are_enough() -> None:
    state = Precision(None, math.inf, "", 16, 500, 1)
    assert (state.reached, state.done, state.words()) == (None, True, "")


def test_more_are_drawn_until_the_width_is_reached_or_nothing_is_left() -> None:
    wide, narrow = Precision(0.1, 0.2, "conv", 16, 500, 1), Precision(0.1, 0.1, "conv", 24, 500, 2)
    assert (wide.done, wide.next_samples, narrow.done) == (False, 24, True)
    last = Precision(0.1, 0.2, "conv", 400, 500, 6)
    assert last.next_samples == 500
    assert Precision(0.1, 0.2, "conv", 500, 500, 7).done
    # One more is always a step on.
    assert Precision(0.1, 0.2, "conv", 1, 500, 1).next_samples == 2


def test_it_says_which_of_the_two_happened() -> None:
    reached, exhausted = Precision(0.1, 0.08, "conv", 24, 500, 2), Precision(0.1, 0.12, "conv", 500, 500, 7)
    assert reached.words() == "widest 95% half-width 8.0% (conv), 10.0% reached with 24 samples a side"
    assert "10.0% not reached: objects and views are used up with 500 samples a side" in exhausted.words()
    assert [state.record()["reached"] for state in (reached, exhausted)] == [True, False]
    assert Precision(0.1, math.inf, "", 2, 2, 1).record()["widest"] is None
