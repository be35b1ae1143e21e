"""What a range is: its ends hold, every order of magnitude counts alike, and nonsense is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.search_ranges import Range, choices, log_uniform, multiples, uniform

shares = st.floats(0, 1, exclude_max=True)
ends = st.tuples(st.floats(1e-6, 1e6), st.floats(1.01, 1e4))


@given(ends, shares)
def test_numbers_stay_between_the_ends(found: tuple[float, float], share: float) -> None:
    low, high = found[0], found[0] * found[1]
    for one in (log_uniform(low, high), uniform(low, high)):
        value = one.at(share)
        assert isinstance(value, float) and low <= value <= high


def test_the_middle_is_geometric_on_a_logarithmic_scale_and_else_arithmetic() -> None:
    assert log_uniform(0.01, 100.0).at(0.5) == 1.0
    assert uniform(0.0, 10.0).at(0.5) == 5.0
    assert log_uniform(1.0, 10.0).at(0.0) == 1.0
    assert log_uniform(1.0, 3.0).at(0.5) == float(f"{math.sqrt(3):.3g}")


@given(shares)
def test_every_choice_has_the_same_share(share: float) -> None:
    values = ("a", "b", "c", "d")
    assert choices(*values).at(share) == values[int(4 * share)]


def test_multiples_are_of_the_own_value() -> None:
    around = multiples(0.1, 10.0).around(30.0)
    assert around == log_uniform(3.0, 300.0)
    assert log_uniform(1.0, 2.0).around(None) == log_uniform(1.0, 2.0)


@pytest.mark.parametrize("own", [0, 0.0, -1.0, None, "high", True])
def test_there_are_no_multiples_of_what_is_no_number_above_zero(own: object) -> None:
    assert multiples(0.1, 10.0).around(own) is None


@pytest.mark.parametrize(
    "values", [("log", (0.0, 1.0)), ("log", (2.0, 1.0)), ("linear", (1.0, 1.0)), ("log", (1.0, math.inf))]
)
def test_ends_that_are_none_are_refused(values: tuple[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="two ascending ends"):
        Range(values[0], values[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [(), (1, 1)])
def test_choices_are_different_and_there_are_some(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="different choices"):
        choices(*values)
