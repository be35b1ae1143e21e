from __future__ import annotations

import math

import numpy as np
import pytest

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.resampled import resample_scores
from geotrap_cli.sensitivity.samples import SampleNorms
from geotrap_cli.sensitivity.scores import score_units, value_of


@pytest.fixture
def units(micro: LGM) -> UnitParameters:
    return UnitParameters.of(micro, micro.units())


def side(units: UnitParameters, seed: int, objects: int = 5) -> SampleNorms:
    rng = np.random.default_rng(seed)
    norms = {name: rng.lognormal(size=(objects, len(units.names))) for name in ("position", "scale")}
    return SampleNorms(tuple(f"{seed}/{n}" for n in range(objects)), norms)


def test_values_are_those_of_the_table(units: UnitParameters) -> None:
    target, source = side(units, 1), side(units, 2)
    rows = score_units(target, source, units, frozenset(), frozenset(), seed=0, resamples=50)
    found = resample_scores(target, source, units, seed=0, resamples=50)
    assert set(found) == {"geometric_mean", "rms", "leverage", "share"}
    for name, score in found.items():
        np.testing.assert_allclose(score.values, [value_of(row, name) for row in rows], rtol=1e-12)


def test_draws_of_the_ratio_give_its_interval(units: UnitParameters) -> None:
    target, source = side(units, 1), side(units, 2)
    rows = score_units(target, source, units, frozenset(), frozenset(), seed=0, resamples=50)
    draws = resample_scores(target, source, units, seed=0, resamples=50)["geometric_mean"].draws
    assert draws is not None
    assert draws.shape == (50, len(units.names))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(low, [row.row.geometric_mean.low for row in rows])
    np.testing.assert_allclose(high, [row.row.geometric_mean.high for row in rows])


def test_one_draw_takes_the_same_groups_for_all_scores(units: UnitParameters) -> None:
    target = side(units, 1)
    found = resample_scores(target, side(units, 2), units, seed=0, resamples=50)
    rms, leverage = found["rms"].draws, found["leverage"].draws
    assert rms is not None
    assert leverage is not None
    expected = units.weight_norms()[5] * math.sqrt(units.sizes()[5])
    np.testing.assert_allclose(leverage[:, 5] / rms[:, 5], expected)


def test_one_group_gives_no_draws_and_units_can_be_picked(units: UnitParameters) -> None:
    single = resample_scores(side(units, 1, objects=1), side(units, 2), units, seed=0, resamples=50)
    assert single["share"].draws is None
    found = resample_scores(side(units, 1), side(units, 2), units, seed=0, resamples=50)["share"]
    picked = found.of([4, 2])
    assert found.draws is not None
    assert picked.draws is not None
    np.testing.assert_array_equal(picked.values, found.values[[4, 2]])
    np.testing.assert_array_equal(picked.draws, found.draws[:, [4, 2]])
