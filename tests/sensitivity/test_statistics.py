from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.sensitivity.gradients import Array
from geotrap_cli.sensitivity.statistics import ratio_intervals

NAMES = [f"g{index}" for index in range(40)]


def norms(seed: int, objects: int = 12, units: int = 3) -> Array:
    return np.random.default_rng(seed).lognormal(size=(objects, units))


def test_the_ratio_is_that_of_the_means() -> None:
    target, source = norms(1), norms(2, objects=8)
    found = ratio_intervals([target], [source], NAMES[:12], NAMES[:8])
    np.testing.assert_allclose([item.value for item in found], target.mean(axis=0) / source.mean(axis=0))
    assert {item.groups for item in found} == {8}


@given(st.integers(0, 1000), st.integers(2, 20))
def test_equal_sets_give_one_inside_the_interval(seed: int, objects: int) -> None:
    same = norms(seed, objects)
    for item in ratio_intervals([same], [same], NAMES[:objects], NAMES[:objects], resamples=200):
        assert item.value == 1
        assert item.low is not None
        assert item.high is not None
        assert item.low <= 1 <= item.high


def test_the_interval_has_the_width_that_independent_sides_have() -> None:
    rng = np.random.default_rng(0)
    target, source = (rng.normal(10, 1, (400, 1)) for _ in range(2))
    names = [str(index) for index in range(400)]
    (found,) = ratio_intervals([target], [source], names, names)
    # Of the ratio of two independent means near 1, by the delta method; a paired draw of equal sets would give none.
    half = 1.96 * math.sqrt((target.var() / target.mean() ** 2 + source.var() / source.mean() ** 2) / 400)
    assert found.low == pytest.approx(found.value - half, abs=0.003)
    assert found.high == pytest.approx(found.value + half, abs=0.003)


def test_the_sides_are_drawn_independently() -> None:
    same = norms(3)
    (found, *_) = ratio_intervals([same], [same], NAMES[:12], NAMES[:12])
    assert found.low is not None
    assert found.low < 0.99, "a paired bootstrap would find no spread at all"


def test_copies_of_an_object_add_no_certainty() -> None:
    target, source, groups = norms(1, 5), norms(2, 5), NAMES[:5]
    once = ratio_intervals([target], [source], groups, groups)
    again = ratio_intervals([np.tile(target, (4, 1))], [source], groups * 4, groups)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_allclose(
            [first.value, first.low, first.high], [second.value, second.low, second.high], rtol=1e-12
        )


def test_every_group_weighs_the_same() -> None:
    target = np.array([[0.0], [0.0], [0.0], [10.0]])
    (found,) = ratio_intervals([target], [np.ones((2, 1))], ["a", "a", "a", "b"], ["c", "d"])
    assert found.value == 5


def test_all_losses_see_the_same_draws() -> None:
    target, source, names = norms(1), norms(2), NAMES[:12]
    once = ratio_intervals([target], [source], names, names)
    twice = ratio_intervals([target, target], [source, source], names, names)
    # Independent draws would cancel in part and give a narrower interval.
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose([one.value, one.low, one.high], [two.value, two.low, two.high], rtol=1e-12)


def test_the_geometric_mean_of_reported_ratios() -> None:
    # down_blocks.4.attns.1.attn.qkv: 1.51 (position) and 2.04 (scale).
    one = np.ones((3, 1))
    (found,) = ratio_intervals([1.51 * one, 2.04 * one], [one, one], NAMES[:3], NAMES[:3])
    assert round(found.value, 3) == 1.755
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


def test_no_source_gradient_gives_no_ratio() -> None:
    target, source = norms(1, 4, 2), norms(2, 4, 2)
    source[:, 0] = 0
    undefined, fine = ratio_intervals([target], [source], NAMES[:4], NAMES[:4])
    assert math.isnan(undefined.value)
    assert (undefined.low, undefined.high) == (None, None)
    assert fine.low is not None


def test_one_loss_without_ratio_leaves_the_geometric_mean_undefined() -> None:
    target, source = norms(1, 4, 1), norms(2, 4, 1)
    (found,) = ratio_intervals([target, target], [source, 0 * source], NAMES[:4], NAMES[:4])
    assert math.isnan(found.value)


def test_a_draw_without_source_gradient_leaves_no_interval() -> None:
    source = np.array([[0.0], [1.0]])
    (found,) = ratio_intervals([np.ones((2, 1))], [source], ["a", "b"], ["c", "d"])
    assert (found.value, found.low, found.high) == (2.0, None, None)


def test_one_group_gives_no_interval() -> None:
    (found,) = ratio_intervals([norms(1, 3, 1)], [norms(2, 3, 1)], ["a"] * 3, NAMES[:3])
    assert math.isfinite(found.value)
    assert (found.low, found.high, found.groups) == (None, None, 1)


def test_the_seed_decides() -> None:
    target, source, names = norms(1), norms(2), NAMES[:12]
    same = [ratio_intervals([target], [source], names, names, seed=3) for _ in range(2)]
    assert same[0] == same[1] != ratio_intervals([target], [source], names, names, seed=4)
