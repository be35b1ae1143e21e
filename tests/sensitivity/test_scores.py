from __future__ import annotations

import math

import numpy as np
import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.samples import SampleNorms
from geotrap_cli.sensitivity.scores import UnitScore, check_column, order_units, score_units


@pytest.fixture
def units(micro: LGM) -> UnitParameters:
    return UnitParameters.of(micro, micro.units())


def side(units: UnitParameters, seed: int, scale: float = 1.0) -> SampleNorms:
    rng = np.random.default_rng(seed)
    norms = {name: scale * rng.lognormal(size=(4, len(units.names))) for name in ("position", "scale")}
    names = tuple(f"{seed}/{index}" for index in range(4))
    return SampleNorms(names, norms)


def scored(units: UnitParameters, target: SampleNorms, source: SampleNorms) -> list[UnitScore]:
    return score_units(target, source, units, frozenset({"conv"}), frozenset(), seed=0, resamples=50)


def test_one_score_a_unit_in_the_order_of_the_network(units: UnitParameters) -> None:
    scores = scored(units, side(units, 1), side(units, 2))
    assert [score.row.unit for score in scores] == list(units.names)
    assert [score.row.unit for score in scores if score.row.lora_reach] == ["conv"]
    assert sum(score.parameters for score in scores) == sum(tensor.numel() for tensor in units.tensors)


def test_the_record_holds_what_its_names_say(units: UnitParameters) -> None:
    target, source = side(units, 1), side(units, 2)
    record = scored(units, target, source)[3].record()
    norm = target.norms["scale"][:, 3].mean()
    assert record["target_scale"] == pytest.approx(norm)
    assert record["ratio_scale"] == pytest.approx(norm / source.norms["scale"][:, 3].mean())
    assert record["rms_scale"] == pytest.approx(norm / units.sizes()[3] ** 0.5)
    assert record["leverage_scale"] == pytest.approx(norm * units.weight_norms()[3])
    squares = target.norms["scale"] ** 2
    assert record["share_scale"] == pytest.approx((squares[:, 3] / squares.sum(axis=1)).mean())
    both = [float(str(record[f"ratio_{name}"])) for name in ("position", "scale")]
    assert record["geometric_mean"] == pytest.approx(math.sqrt(both[0] * both[1]))


def test_shares_add_up_to_one(units: UnitParameters) -> None:
    scores = scored(units, side(units, 1), side(units, 2))
    assert sum(score.shares["position"] for score in scores) == pytest.approx(1)


def test_equal_sides_have_ratio_one_and_hold_it(units: UnitParameters) -> None:
    same = side(units, 1)
    for score in scored(units, same, same):
        assert score.row.geometric_mean.value == pytest.approx(1)
        assert score.row.holds_one


def test_a_factor_between_the_sides_is_found(units: UnitParameters) -> None:
    for score in scored(units, side(units, 1, scale=100), side(units, 1)):
        assert score.row.ratios["position"].value == pytest.approx(100)
        assert score.row.holds_one is False


def test_order(units: UnitParameters) -> None:
    source = side(units, 2)
    source.norms["scale"][:, 0] = 0
    scores = scored(units, side(units, 1), source)
    ranked = [score.row.ratios["scale"].value for score in order_units(scores, "scale")]
    assert ranked[:-1] == sorted(ranked[:-1], reverse=True)
    assert math.isnan(ranked[-1])
    assert order_units(scores, "unit") == scores
    assert order_units(scores, "geometric_mean")[-1].row.unit == units.names[0]
    assert order_units(scores, "position") != order_units(scores, "scale")


@pytest.mark.parametrize(
    ("typed", "meant"), [("postion", "position"), ("geo_mean", "geometric_mean"), ("units", "unit")]
)
def test_an_unknown_column_gives_the_closest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no column '{typed}'.*Did you mean '{meant}'"):
        check_column(typed, ["position"])
    check_column(meant, ["position"])
