"""Conditions on numbers: what holds, what fails, and what cannot be decided."""

from __future__ import annotations

from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.reports.gates import check_gates, check_names, gate_failure, parse_gates
from geotrap_cli.reports.quantities import Quantity


def number(name: str, value: Any, low: Any = None, high: Any = None, missing: str | None = None) -> Quantity:
    return Quantity(name, "ratio", value, low, high, (), missing)


NUMBERS = {
    entry.name: entry
    for entry in (
        number("worst_recovery", 0.4, 0.3, 0.6),
        number("worst_slow_down_90", Censored(4.0)),
        number("benign_trainability", None, missing="no attack was run on benign objects"),
        number("lora, seed 1.recovery", 0.2),
    )
}


@pytest.mark.parametrize(
    ("condition", "passed", "reason"),
    [
        ("worst_recovery<=0.5", True, "it is 0.4"),
        ("worst_recovery <= .4", True, "it is 0.4"),
        ("worst_recovery<0.4", False, "it is 0.4"),
        ("worst_recovery>=-1e-1", True, "it is 0.4"),
        ("worst_recovery.high<=0.5", False, "it is 0.6"),
        ("worst_recovery.low>0.25", True, "it is 0.3"),
        ("lora, seed 1.recovery<0.3", True, "it is 0.2"),
        ("lora, seed 1.recovery.low<0.3", False, "not measured: it has no interval"),
        ("benign_trainability>=0", False, "not measured: no attack was run on benign objects"),
        ("worst_slow_down_90>=3", True, "it is >4"),
        ("worst_slow_down_90>4", True, "it is >4"),
        ("worst_slow_down_90<=4", False, "it is >4"),
        ("worst_slow_down_90>=5", False, "cannot be decided: all that is known is >4"),
        ("worst_slow_down_90<5", False, "cannot be decided: all that is known is >4"),
    ],
)
def test_conditions(condition: str, passed: bool, reason: str) -> None:
    gates = parse_gates([condition])
    check_names(gates, NUMBERS)
    (result,) = check_gates(gates, NUMBERS)
    assert (result.passed, result.reason) == (passed, reason)


@pytest.mark.parametrize("condition", ["worst_recovery", "worst_recovery=0.5", "<=0.5", "worst_recovery<=half", ""])
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(UsageError, match="is no condition") as error:
        parse_gates([condition])
    assert "worst_recovery<=0.5" in str(error.value.hint)


def test_unknown_number_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="no number 'worst_recovry'") as error:
        check_names(parse_gates(["worst_recovry<=1"]), NUMBERS)
    assert "worst_recovery" in str(error.value.hint)


def test_all_failures_are_told_at_once() -> None:
    results = check_gates(parse_gates(["worst_recovery<=0.1", "benign_trainability>=1", "worst_recovery<1"]), NUMBERS)
    failure = gate_failure(results)
    assert failure is not None and failure.exit_code == 3
    assert failure.message.startswith("2 of 3 gates failed: worst_recovery<=0.1: it is 0.4; benign_trainability>=1")
    assert gate_failure(results[2:]) is None
