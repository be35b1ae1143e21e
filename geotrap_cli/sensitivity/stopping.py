"""When enough samples are drawn: how narrow the intervals of the ratios are, and when to look again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geotrap_cli.evaluation.bootstrap import CONFIDENCE, Interval

GROWTH = 1.5
"""Each look comes after half as many samples again: few looks, because each is a chance to stop on luck."""


@dataclass(frozen=True)
class Precision:
    """How narrow the intervals of an analysis are.

    Attributes:
        wanted: The relative half-width that was asked for; None: none was.
        widest: The largest relative half-width of a unit; infinite where a unit has a ratio and no interval.
        unit: That unit; empty where no unit has a ratio.
        samples: Samples of each side.
        available: Samples that the smaller side has.
        looks: How often the intervals were computed.
    """

    wanted: float | None
    widest: float
    unit: str
    samples: int
    available: int
    looks: int

    @property
    def reached(self) -> bool | None:
        """Whether the intervals are as narrow as was asked for; None where nothing was."""
        return None if self.wanted is None else self.widest <= self.wanted

    @property
    def done(self) -> bool:
        """Whether no more samples are to be drawn."""
        return self.reached in (None, True) or self.samples >= self.available

    @property
    def next_samples(self) -> int:
        """Samples of each side before the next look."""
        return min(self.available, math.ceil(GROWTH * self.samples))

    def words(self) -> str:
        """Return how it ended, one line; empty where no width was asked for."""
        if self.wanted is None:
            return ""
        width = f"{self.widest:.1%}" if math.isfinite(self.widest) else "not defined"
        found = f"widest {CONFIDENCE:.0%} half-width {width}{f' ({self.unit})' if self.unit else ''}"
        how = "reached" if self.reached else "not reached: objects and views are used up"
        return f"{found}, {self.wanted:.1%} {how} with {self.samples} samples a side"

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON; a width that is not defined is None."""
        return {
            "target_ci": self.wanted,
            "reached": self.reached,
            "widest": self.widest if math.isfinite(self.widest) else None,
            "widest_unit": self.unit or None,
            "samples": self.samples,
            "available": self.available,
            "looks": self.looks,
        }


def relative_half_width(ratio: Interval) -> float:
    """Half the interval's width in units of its value, (high − low) / (2·value).

    Infinite where a ratio has no interval, NaN where there is no ratio, and 0 for a ratio that is zero in all draws.
    """
    if math.isnan(ratio.value):
        return math.nan
    if ratio.low is None or ratio.high is None:
        return math.inf
    width = (ratio.high - ratio.low) / 2
    return 0.0 if width == 0 else math.inf if ratio.value == 0 else width / ratio.value


def widest_unit(names: Sequence[str], ratios: Sequence[Interval]) -> tuple[float, str]:
    """The largest relative half-width and its unit, over units that have a ratio; infinity where none has."""
    widths = [(relative_half_width(ratio), name) for name, ratio in zip(names, ratios, strict=True)]
    defined = [(width, name) for width, name in widths if not math.isnan(width)]
    return max(defined, key=lambda entry: entry[0], default=(math.inf, ""))
