from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.evaluation.validity import AttackHealth, Evidence, Limits, State, excess_saturation, judge

HEALTHY = AttackHealth(zero_gradient_share=0.0, saturated_share=0.1, nonfinite=0, loss_decreased=True)
SOUND = Evidence(ceiling=25.0, floor=15.0, undefended_gain=5.0, defended_quality=16.0, source_loss=0.3, health=HEALTHY)


def judge_with(**changes: Any) -> State:
    return judge(replace(SOUND, **changes)).state


def test_sound_evidence_is_valid_and_says_what_was_not_tested() -> None:
    verdict = judge(SOUND)
    assert verdict.state is State.VALID
    assert verdict.states == (State.VALID,)
    assert verdict.not_tested == ("training from scratch (control)", "the de-saturating attack")


def test_everything_tested_leaves_nothing_to_name() -> None:
    tested = replace(SOUND, scratch_quality=18.0, desaturate_run=True, desaturate_recovered=False)
    assert judge(tested).not_tested == ()


def test_no_run_is_not_run() -> None:
    assert judge(None).state is State.NOT_RUN


@pytest.mark.parametrize("name", ["ceiling", "floor", "undefended_gain", "defended_quality", "source_loss", "health"])
def test_what_was_not_measured_is_never_valid(name: str) -> None:
    verdict = judge(replace(SOUND, **{name: None}))  # type: ignore[arg-type]
    assert verdict.state is State.NOT_RUN
    assert "was not measured" in verdict.reasons[0].text


@pytest.mark.parametrize("name", [field.name for field in fields(AttackHealth)])
def test_health_that_was_not_measured_is_never_valid(name: str) -> None:
    assert judge_with(health=replace(HEALTHY, **{name: None})) is State.NOT_RUN


@pytest.mark.parametrize(
    "name", ["ceiling", "floor", "undefended_gain", "defended_quality", "source_loss", "scratch_quality"]
)
def test_nan_is_divergence(name: str) -> None:
    assert judge_with(**{name: math.nan}) is State.DIVERGED


def test_nan_in_the_health_record_is_divergence() -> None:
    assert judge_with(health=replace(HEALTHY, zero_gradient_share=math.nan)) is State.DIVERGED
    assert judge_with(health=replace(HEALTHY, nonfinite=1)) is State.DIVERGED


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"ceiling": 17.99}, State.ATTACK_WEAK),
        ({"ceiling": 18.0}, State.VALID),
        ({"undefended_gain": 1.99}, State.ATTACK_WEAK),
        ({"undefended_gain": 2.0}, State.VALID),
        ({"scratch_quality": 25.0}, State.ATTACK_WEAK),
        ({"scratch_quality": 24.0}, State.VALID),
        ({"undefended_quality": 23.9}, State.ATTACK_WEAK),
        ({"undefended_quality": 24.0}, State.VALID),
        ({"source_loss": 1.0}, State.VALID),
        ({"source_loss": 1.01}, State.SOURCE_BROKEN),
        ({"source_loss": -3.0}, State.VALID),
    ],
)
def test_limits(changes: dict[str, float], state: State) -> None:
    assert judge_with(**changes) is state


@pytest.mark.parametrize("flag", [{"zero_gradient_share": 0.9}, {"saturated_share": 0.9}, {"loss_decreased": False}])
@pytest.mark.parametrize(
    ("run", "recovered", "state"),
    [
        (False, None, State.MASKED),
        (True, True, State.MASKED),
        (True, None, State.MASKED),
        (True, False, State.VALID),
    ],
)
def test_masked_until_the_desaturating_attack_fails(
    flag: dict[str, Any], run: bool, recovered: bool | None, state: State
) -> None:
    health = replace(HEALTHY, **flag)
    assert judge_with(health=health, desaturate_run=run, desaturate_recovered=recovered) is state


@pytest.mark.parametrize(("dead", "state"), [(0.9, State.MASKED), (0.5, State.VALID), (None, State.VALID)])
def test_a_desaturating_attack_that_had_no_gradients_itself_clears_nothing(dead: float | None, state: State) -> None:
    masked = replace(SOUND, health=replace(HEALTHY, zero_gradient_share=1.0))
    failed = replace(masked, desaturate_run=True, desaturate_recovered=False, desaturate_zero_gradient_share=dead)
    assert judge(failed).state is state


def test_all_states_that_apply_are_kept_in_order() -> None:
    broken = AttackHealth(zero_gradient_share=0.99, saturated_share=None, nonfinite=3, loss_decreased=False)
    verdict = judge(replace(SOUND, ceiling=16.0, source_loss=4.0, health=broken))
    assert verdict.states == (
        State.NOT_RUN,
        State.DIVERGED,
        State.ATTACK_WEAK,
        State.SOURCE_BROKEN,
        State.MASKED,
    )
    assert verdict.state is State.NOT_RUN


def test_limits_can_be_set() -> None:
    assert judge(replace(SOUND, source_loss=1.5), Limits(source_tolerance_db=2)).state is State.VALID


NUMBER = st.none() | st.just(math.nan) | st.floats(-50, 50)


@given(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.booleans())
def test_valid_means_that_everything_was_measured_and_within_limits(
    ceiling: float | None,
    floor: float | None,
    gain: float | None,
    quality: float | None,
    loss: float | None,
    healthy: bool,
) -> None:
    evidence = Evidence(ceiling, floor, gain, quality, loss, HEALTHY if healthy else None)
    if judge(evidence).state is State.VALID:
        assert healthy
        assert quality is not None
        assert ceiling is not None and floor is not None and ceiling - floor >= 3
        assert gain is not None and gain >= 2
        assert loss is not None and loss <= 1


def test_excess_saturation() -> None:
    assert excess_saturation(0.95, 0.8) == pytest.approx(0.75)
    assert excess_saturation(0.5, 0.8) == 0
    assert excess_saturation(1.0, 1.0) == 0
    assert excess_saturation(None, 0.5) is None and excess_saturation(0.5, None) is None
