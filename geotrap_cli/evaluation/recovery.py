"""How far and how fast an attack brings quality back: definitions on one curve of quality over attack steps.

With ``q(t)`` the quality after ``t`` steps, ``f`` the floor (a white image) and ``c`` the ceiling (the best the
undefended weights reach), the recovery ratio is ``rho(t) = (q(t) - f) / (c - f)``: 0 for a blank image, 1 for what the
attacker gets without a defense. It is not clipped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geotrap_cli.errors import GeotrapError

THRESHOLDS = (0.5, 0.8, 0.9, 0.95)
"""The shares of the ceiling for which steps to recover are reported."""


@dataclass(frozen=True)
class Censored:
    """A count that was not reached when observation ended: all that is known is that it lies beyond ``at``."""

    at: float

    def __str__(self) -> str:
        return f">{self.at:g}"


Count = int | float | Censored


def recovery_ratio(quality: Sequence[float], floor: float, ceiling: float) -> list[float]:
    """Return ``rho`` at each evaluation; all ``nan`` when the ceiling is not above the floor."""
    span = ceiling - floor
    return [(value - floor) / span if span > 0 else math.nan for value in quality]


def peak_recovery(ratios: Sequence[float]) -> float:
    """Return the recovery of an attack: the largest ``rho`` on its curve; ``nan`` when any of them is."""
    return float(np.max(np.asarray(ratios, dtype=np.float64)))


def steps_to_recover(steps: Sequence[int], ratios: Sequence[float], threshold: float) -> int | Censored | None:
    """Return the first evaluated step at which ``rho >= threshold``.

    A curve that starts above the threshold counts as one evaluation interval, because zero steps would make every
    slow-down infinite. A curve that never gets there is right-censored at its last step. None (unknown) when ``rho``
    is undefined at or before the step in question: a diverged run has not resisted.

    Raises:
        GeotrapError: Fewer than two evaluations, steps not increasing, or a ratio missing.
    """
    _check_curve(steps, ratios)
    for step, ratio in zip(steps, ratios, strict=True):
        if math.isnan(ratio):
            return None
        if ratio >= threshold:
            return step if step > 0 else steps[1] - steps[0]
    return Censored(steps[-1])


def slow_down(defended: Count | None, reference: Count | None) -> float | Censored | None:
    """Return how many times more steps the defended weights take than the reference (undefended, or scratch).

    A censored defended count gives a lower bound; with a censored or unknown reference nothing is known.
    """
    if defended is None or reference is None or isinstance(reference, Censored):
        return None
    if isinstance(defended, Censored):
        return Censored(defended.at / reference)
    return defended / reference


def area_under_recovery(
    steps: Sequence[int], ratios: Sequence[float], axis: Literal["linear", "log"] = "linear"
) -> float:
    """Return the mean of ``rho`` over the attack's steps, by the trapezoid rule.

    With ``axis="log"`` the integral runs over ``log(1 + t)``, which weighs the first steps as much as the last decade.
    """
    from scipy.integrate import trapezoid

    _check_curve(steps, ratios)
    positions = np.asarray(steps, dtype=np.float64)
    if axis == "log":
        positions = np.log1p(positions)
    return float(trapezoid(ratios, positions) / (positions[-1] - positions[0]))


def resistance(area_defended: float, area_undefended: float) -> float:
    """Return ``1 - AURC_d / AURC_0``: 0 without effect, 1 for no recovery; ``nan`` when the attack recovers nothing."""
    return 1 - area_defended / area_undefended if area_undefended > 0 else math.nan


def median_steps(counts: Sequence[Count]) -> Count:
    """Return the Kaplan-Meier median of steps to recover over seeds; censored when fewer than half get there."""
    from scipy.stats import ecdf

    survival = ecdf(_survival_data(counts)).sf
    reached = [time for time, share in zip(survival.quantiles, survival.probabilities, strict=True) if share <= 0.5]
    if not reached:
        return Censored(max(_time(count) for count in counts))
    return float(reached[0])


def log_rank_p_value(defended: Sequence[Count], undefended: Sequence[Count]) -> float:
    """Return the two-sided log-rank p-value that both sets of counts come from one distribution."""
    from scipy.stats import logrank

    return float(logrank(_survival_data(defended), _survival_data(undefended)).pvalue)


def _survival_data(counts: Sequence[Count]) -> object:
    from scipy.stats import CensoredData

    return CensoredData.right_censored([_time(count) for count in counts], [isinstance(c, Censored) for c in counts])


def _time(count: Count) -> float:
    return count.at if isinstance(count, Censored) else count


def _check_curve(steps: Sequence[int], ratios: Sequence[float]) -> None:
    if len(steps) != len(ratios):
        raise GeotrapError(f"a recovery curve has {len(steps)} steps and {len(ratios)} ratios")
    if len(steps) < 2:
        raise GeotrapError("a recovery curve needs two evaluations", hint="Evaluate before and after the attack")
    if steps[0] < 0 or any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise GeotrapError(f"the steps of a recovery curve must increase from 0 or more, got {list(steps)}")
