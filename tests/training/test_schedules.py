from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.training.schedules import make_schedule

NAMES = ("constant", "linear", "cosine", "wsd", "one_cycle")


def course(name: str, steps: int, warmup_steps: int) -> list[float]:
    factor = make_schedule(name, steps, warmup_steps)
    return [factor(step) for step in range(steps)]


def test_known_values_without_warm_up() -> None:
    assert course("constant", 3, 0) == [1, 1, 1]
    assert course("linear", 4, 0) == [1, 0.75, 0.5, 0.25]
    assert course("cosine", 4, 0) == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    # Stable for 70 %, then straight down to zero at the end of the run.
    assert course("wsd", 10, 0) == pytest.approx([1] * 8 + [2 / 3, 1 / 3])


def test_warm_up_rises_linearly_and_the_decay_begins_where_it_ends() -> None:
    assert course("constant", 6, 4) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert course("linear", 6, 2) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    assert course("wsd", 12, 2)[2:] == course("wsd", 10, 0)


@pytest.mark.parametrize(("steps", "warmup_steps"), [(20, 5), (20, 2), (7, 7), (100, 30), (10, 0)])
def test_one_cycle_is_the_schedule_of_torch(steps: int, warmup_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3.0, total_steps=steps, pct_start=warmup_steps / steps
    )
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"] / 3.0)
        optimizer.step()
        reference.step() if len(expected) < steps else None
    assert course("one_cycle", steps, warmup_steps) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(name=st.sampled_from(NAMES), steps=st.integers(1, 50), share=st.floats(0, 1))
def test_factors_stay_between_zero_and_one_and_never_waste_a_step(name: str, steps: int, share: float) -> None:
    factors = course(name, steps, int(share * steps))
    assert all(0 < factor <= 1 + 1e-12 for factor in factors)


@given(name=st.sampled_from(NAMES), steps=st.integers(2, 50), share=st.floats(0, 0.9))
def test_one_rise_then_one_fall(name: str, steps: int, share: float) -> None:
    factors = course(name, steps, int(share * steps))
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_unknown_name() -> None:
    with pytest.raises(KeyError):
        make_schedule("cosin", 10, 0)
