"""What an option is searched over when a defense is tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Value = bool | int | float | str
DIGITS = 3
"""Significant digits of a number that is drawn: nothing depends on more, and people can read and repeat it."""


@dataclass(frozen=True)
class Range:
    """Values of one option, by :func:`log_uniform`, :func:`uniform`, :func:`multiples` or :func:`choices`.

    Attributes:
        kind: ``log`` or ``linear`` between two ends, or one of several ``choices``.
        values: The two ends, or the choices.
        relative: Whether the ends are multiples of the option's own value.

    Raises:
        ValueError: The ends are not two ascending numbers, above zero on a logarithmic scale, or there is no choice.
    """

    kind: Literal["log", "linear", "choices"]
    values: tuple[Value, ...]
    relative: bool = False

    def __post_init__(self) -> None:
        if self.kind == "choices":
            if len(set(self.values)) < max(1, len(self.values)):
                raise ValueError(f"expects different choices, got {self.values}")
            return
        low, high = self.ends
        if not (math.isfinite(low) and math.isfinite(high) and low < high and (self.kind == "linear" or low > 0)):
            raise ValueError(f"expects two ascending ends on a {self.kind} scale, got {low} and {high}")

    @property
    def ends(self) -> tuple[float, float]:
        """The two ends of a range of numbers."""
        low, high = self.values
        return float(low), float(high)

    def around(self, own: Any) -> Range | None:
        """Return the range in absolute numbers, around the option's own value.

        None where there is nothing to search: multiples of a value that is no number above zero.
        """
        if not self.relative:
            return self
        if isinstance(own, bool) or not isinstance(own, int | float) or own <= 0:
            return None
        low, high = self.ends
        return Range(self.kind, (_rounded(own * low), _rounded(own * high)))

    def at(self, share: float) -> Value:
        """Return the value at ``share`` in [0, 1) of an absolute range; numbers are rounded to three digits."""
        if self.kind == "choices":
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        low, high = self.ends
        value = low * (high / low) ** share if self.kind == "log" else low + (high - low) * share
        return min(max(_rounded(value), low), high)

    def payload(self) -> dict[str, Any]:
        """Return the range as JSON values."""
        return {"kind": self.kind, "values": list(self.values)}


def log_uniform(low: float, high: float) -> Range:
    """Numbers between two ends above zero, every order of magnitude alike."""
    return Range("log", (low, high))


def uniform(low: float, high: float) -> Range:
    """Numbers between two ends."""
    return Range("linear", (low, high))


def multiples(low: float, high: float) -> Range:
    """Multiples of the option's own value, log-uniform: profiles for generators of other sizes have other values."""
    return Range("log", (low, high), relative=True)


def choices(*values: Value) -> Range:
    """One of several values."""
    return Range("choices", values)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
