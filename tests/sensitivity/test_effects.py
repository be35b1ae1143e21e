"""Effects and correlations against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.sensitivity.effects import causal_effects, correlate, gain, rank_correlation
from geotrap_cli.sensitivity.resampled import ResampledScore

GROUPS = 6
DRAWS = {"seed": 0, "resamples": 200}


def scores(values: list[float]) -> list[ObjectScore]:
    return [ObjectScore(f"o{n}", f"g{n}", "knife", {"foreground_psnr": value}) for n, value in enumerate(values)]


def cell(before: list[float], after: list[float], diverged: bool = False) -> Cell:
    health = AttackHealth(zero_gradient_share=0.0, saturated_share=0.0, nonfinite=int(diverged), loss_decreased=True)
    evaluations = [CellEvaluation(0, scores(before), None), CellEvaluation(9, scores(after), None)]
    return Cell("lora", "undefended", 9, 0, evaluations, health, 1.0, 10, 1.0, 0.5)


BEFORE = [10.0 + n for n in range(GROUPS)]
ATTACKED = cell(BEFORE, [value + 2.0 for value in BEFORE])


def without(loss: float) -> Cell:
    return cell(BEFORE, [value + 2.0 - loss for value in BEFORE])


def test_gain_is_what_the_attack_wins() -> None:
    found = gain(ATTACKED, **DRAWS)
    assert (found.value, found.low, found.high, found.groups) == (2.0, 2.0, 2.0, GROUPS)


@pytest.mark.parametrize(("loss", "kept"), [(0.0, 1.0), (0.5, 0.75), (2.0, 0.0), (3.0, -0.5), (-1.0, 1.5)])
def test_the_effect_is_what_the_attack_loses_and_the_rest_is_kept(loss: float, kept: float) -> None:
    (found,) = causal_effects(ATTACKED, {"conv": without(loss)}, **DRAWS)
    assert found.unit == "conv"
    assert (found.effect.value, found.effect.low, found.effect.high) == pytest.approx((loss, loss, loss))
    assert (found.kept.value, found.kept.low) == pytest.approx((kept, kept))


def test_objects_are_paired() -> None:
    # The objects differ by far more than the effect does.
    spread = [100.0 * n for n in range(GROUPS)]
    attacked, held = cell(spread, [v + 2 for v in spread]), cell(spread, [v + 1.5 for v in spread])
    (found,) = causal_effects(attacked, {"conv": held}, **DRAWS)
    assert (found.effect.low, found.effect.high) == pytest.approx((0.5, 0.5))


def test_a_share_of_no_gain_is_not_a_number() -> None:
    idle = cell(BEFORE, BEFORE)
    (found,) = causal_effects(idle, {"conv": cell(BEFORE, [value - 1 for value in BEFORE])}, **DRAWS)
    assert found.effect.value == 1
    assert math.isnan(found.kept.value)
    assert found.kept.low is None


def test_a_share_of_a_doubtful_gain_has_no_interval() -> None:
    doubtful = cell(BEFORE, [value + change for value, change in zip(BEFORE, [9, -2, -2, -2, -1, 1], strict=True)])
    (found,) = causal_effects(doubtful, {"conv": cell(BEFORE, BEFORE)}, **DRAWS)
    assert found.kept.value == pytest.approx(0)
    assert found.kept.low is None


def test_an_attack_that_diverged_tells_nothing() -> None:
    broken = cell(BEFORE, BEFORE, diverged=True)
    (found,) = causal_effects(ATTACKED, {"conv": broken}, **DRAWS)
    assert math.isnan(found.effect.value)
    assert found.effect.low is None
    score = ResampledScore(np.array([1.0, 2.0, 3.0]), None)
    (correlation,) = correlate({"share": score}, ATTACKED, [without(1), broken, without(2)], **DRAWS)
    assert (correlation.units, correlation.rho.value) == (2, pytest.approx(1))


def drawn(values: list[float], noise: float = 0.0) -> ResampledScore:
    rng = np.random.default_rng(0)
    array = np.array(values)
    return ResampledScore(array, array + noise * rng.normal(size=(DRAWS["resamples"], len(values))))


def test_a_score_in_the_order_of_the_effects_has_rank_correlation_one() -> None:
    cells = [without(loss) for loss in (0.1, 0.2, 0.5, 1.0)]
    for values, rho in (([1.0, 5.0, 6.0, 900.0], 1), ([4.0, 3.0, 2.0, 1.0], -1)):
        (found,) = correlate({"share": drawn(values)}, ATTACKED, cells, **DRAWS)
        assert (found.score, found.units, found.rho.value) == ("share", 4, pytest.approx(rho))
        assert (found.rho.low, found.rho.high) == (pytest.approx(rho), pytest.approx(rho))


def test_doubt_about_the_score_widens_the_interval() -> None:
    cells = [without(loss) for loss in (0.1, 0.2, 0.5, 1.0)]
    (found,) = correlate({"share": drawn([1.0, 2.0, 3.0, 4.0], noise=1.0)}, ATTACKED, cells, **DRAWS)
    assert found.rho.low is not None
    assert found.rho.low < 1


def test_doubt_about_the_effects_widens_the_interval() -> None:
    # Which of the two units matters more differs from group to group.
    first, second = [2.0] * GROUPS, [2.1 + (-1) ** n for n in range(GROUPS)]
    cells = [
        cell(BEFORE, [v + 2.0 - loss for v, loss in zip(BEFORE, losses, strict=True)]) for losses in (first, second)
    ]
    (found,) = correlate({"share": drawn([1.0, 2.0])}, ATTACKED, [*cells], **DRAWS)
    assert (found.rho.low, found.rho.high) == (pytest.approx(-1), pytest.approx(1))


def test_equal_scores_have_no_correlation() -> None:
    (found,) = correlate({"share": drawn([1.0, 1.0, 1.0])}, ATTACKED, [without(n) for n in (1, 2, 3)], **DRAWS)
    assert math.isnan(found.rho.value)
    assert found.rho.low is None
    (single,) = correlate({"share": drawn([1.0])}, ATTACKED, [without(1)], **DRAWS)
    assert math.isnan(single.rho.value)


@given(st.integers(0, 1000), st.integers(2, 12))
def test_rank_correlation_is_scipys(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    first, second = (np.round(rng.normal(size=(3, units)), 1) for _ in range(2))
    expected = [
        spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else math.nan for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(first, second), expected, atol=1e-12)
