"""Conditions that a comparison must meet, such as ``worst_recovery<=0.5``; one that cannot be decided is not met."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from geotrap_cli.errors import GateFailed, UsageError
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.plugins import suggestion
from geotrap_cli.reports.quantities import Quantity

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(?P<name>.+?)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*")
_BOUNDS = ("low", "high")


@dataclass(frozen=True)
class Gate:
    """A condition as it was written.

    Attributes:
        text: The whole of it.
        name: Name of the number.
        bound: ``low`` or ``high`` for an end of its interval, empty for the number.
        sign: How it is compared.
        limit: With what.
    """

    text: str
    name: str
    bound: str
    sign: str
    limit: float


@dataclass(frozen=True)
class GateResult:
    """What became of a condition: whether it holds, and the reason as a clause with its numbers."""

    condition: str
    passed: bool
    reason: str


def parse_gates(conditions: Iterable[str]) -> list[Gate]:
    """Read the arguments of ``--gate``.

    Raises:
        UsageError: One is not ``NAME<=NUMBER`` with one of the four signs.
    """
    return [_parse(condition) for condition in conditions]


def check_names(gates: Sequence[Gate], numbers: Mapping[str, Quantity]) -> None:
    """Refuse a condition on a number that does not exist.

    Raises:
        UsageError: A name is unknown; with the closest one.
    """
    for gate in gates:
        if gate.name not in numbers:
            hint = suggestion(gate.name, numbers)
            raise UsageError(f"--gate {gate.text!r}: there is no number {gate.name!r}", hint=hint)


def check_gates(gates: Sequence[Gate], numbers: Mapping[str, Quantity]) -> list[GateResult]:
    """Return what becomes of each condition; names as `check_names` accepts them."""
    return [_check(gate, numbers[gate.name]) for gate in gates]


def gate_failure(results: Sequence[GateResult]) -> GateFailed | None:
    """Return the error that ends a command with a failed condition, None where all hold."""
    failed = [result for result in results if not result.passed]
    if not failed:
        return None
    text = "; ".join(f"{result.condition}: {result.reason}" for result in failed)
    return GateFailed(f"{len(failed)} of {len(results)} gates failed: {text}")


def _parse(condition: str) -> Gate:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        hint = 'write a number\'s name, one of <= >= < >, and a limit, as in "worst_recovery<=0.5"'
        raise UsageError(f"--gate {condition!r} is no condition", hint=hint)
    name, _, bound = match["name"].rpartition(".")
    if bound not in _BOUNDS:
        name, bound = match["name"], ""
    return Gate(condition.strip(), name, bound, match["sign"], float(match["limit"]))


def _check(gate: Gate, number: Quantity) -> GateResult:
    value = getattr(number, gate.bound) if gate.bound else number.value
    if value is None:
        return GateResult(gate.text, False, f"not measured: {number.missing or 'it has no interval'}")
    holds = _holds(value, gate)
    if holds is None:
        return GateResult(gate.text, False, f"cannot be decided: all that is known is {value}")
    unit = "" if number.unit in ("1", "ratio") else f" {number.unit}"
    shown = str(value) if isinstance(value, Censored) else f"{value:.4g}"
    return GateResult(gate.text, holds, f"it is {shown}{unit}")


def _holds(value: Count, gate: Gate) -> bool | None:
    """Return whether the condition holds; None for a lower bound that does not settle it."""
    if not isinstance(value, Censored):
        return _OPERATORS[gate.sign](value, gate.limit)
    # The number is larger than value.at, by an unknown amount.
    if value.at < gate.limit:
        return None
    return gate.sign in (">", ">=")
