"""Statistics of recovery curves with bootstrap intervals over object groups.

A curve keeps the quality of every group at every evaluation, with the floor and the ceiling of the group. A resample
draws groups, averages quality, floor and ceiling over them, and computes the statistic anew: an interval thus covers
the choice of objects, for ratios, areas and counts alike. Steps at which the ceiling lies are taken as given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import Interval, Resampling, bootstrap_estimates, interval_of_means, tails
from geotrap_cli.evaluation.recovery import (
    Censored,
    Count,
    StepAxis,
    area_under_recovery,
    as_count,
    first_steps,
    recovery_ratio,
    relative_gap,
    resistance,
    slow_down,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class QualityCurve:
    """Quality over attack steps, by object group.

    Attributes:
        steps: The evaluated steps, increasing.
        quality: ``[G, E]``, larger is better.
        floor: ``[G]``, quality of a white image.
        ceiling: ``[G]``, quality that counts as recovered.
    """

    steps: tuple[int, ...]
    quality: Array
    floor: Array
    ceiling: Array

    def __post_init__(self) -> None:
        groups = len(self.quality)
        shapes = [array.shape for array in self.samples]
        if shapes != [(groups, len(self.steps)), (groups,), (groups,)]:
            raise GeotrapError(f"a curve of {len(self.steps)} steps has quality, floor and ceiling of shapes {shapes}")

    @property
    def samples(self) -> list[Array]:
        """Quality, floor and ceiling, as `recovery_ratio` takes their means."""
        return [self.quality, self.floor, self.ceiling]

    def until(self, evaluations: int) -> QualityCurve:
        """Return the first ``evaluations`` evaluations."""
        return replace(self, steps=self.steps[:evaluations], quality=self.quality[:, :evaluations])


@dataclass(frozen=True)
class CountInterval:
    """Steps, or a ratio of steps; censored where it was not reached, None where it is unknown.

    The bounds are order statistics of the resamples, so that one beyond the budget is censored and never imputed.
    """

    value: Count | None
    low: Count | None
    high: Count | None
    groups: int


@dataclass(frozen=True)
class SimilarityGap:
    """The relative gap SGR over the evaluations after the attack began: its mean, its largest and its last value."""

    mean: Interval
    peak: Interval
    final: Interval


def area_interval(curve: QualityCurve, axis: StepAxis, resampling: Resampling) -> Interval:
    """Return the area under recovery of one curve; ``nan`` for a curve that was evaluated once."""
    if len(curve.steps) < 2:
        return _undefined(curve)
    return interval_of_means(
        lambda *means: area_under_recovery(curve.steps, recovery_ratio(*means), axis),
        curve.samples,
        **resampling.options,
    )


def area_ratio(
    defended: QualityCurve, undefended: QualityCurve, axis: StepAxis, resampling: Resampling, complement: bool = True
) -> Interval:
    """Return the resistance ``1 - AURC_d / AURC_0``, or with ``complement`` off the ratio; both over common steps."""
    defended, undefended = _common(defended, undefended)
    if len(defended.steps) < 2:
        return _undefined(defended)

    def statistic(quality: Array, other: Array, floor: Array, ceiling: Array) -> Array:
        areas = [
            area_under_recovery(defended.steps, recovery_ratio(side, floor, ceiling), axis) for side in (quality, other)
        ]
        lost = resistance(*areas)
        return lost if complement else 1 - lost

    samples = [defended.quality, undefended.quality, defended.floor, defended.ceiling]
    return interval_of_means(statistic, samples, **resampling.options)


def similarity_gap(defended: QualityCurve, undefended: QualityCurve, resampling: Resampling) -> SimilarityGap:
    """Return the gap of a similarity over the common evaluations after step 0; floor and ceiling play no part."""
    defended, undefended = _common(defended, undefended)
    later = [index for index, step in enumerate(defended.steps) if step > 0]
    if not later:
        return SimilarityGap(*(3 * [_undefined(defended)]))
    samples = [undefended.quality[:, later], defended.quality[:, later]]
    summaries = (
        lambda gap: gap.mean(axis=-1),
        lambda gap: gap.max(axis=-1),
        lambda gap: gap[..., -1],
    )
    return SimilarityGap(
        *(
            interval_of_means(lambda *means, s=summary: s(relative_gap(*means)), samples, **resampling.options)
            for summary in summaries
        )
    )


def count_interval(curve: QualityCurve, threshold: float, resampling: Resampling) -> CountInterval:
    """Return the steps to recover a share of the ceiling; unknown for a curve that was evaluated once."""
    if len(curve.steps) < 2:
        return CountInterval(None, None, None, len(curve.quality))
    value, estimates = _counts(curve, threshold, resampling)
    last = curve.steps[-1]
    low, high = _bounds(estimates, len(curve.quality))
    return CountInterval(
        as_count(value, last),
        None if low is None else as_count(low, last),
        None if high is None else as_count(high, last),
        len(curve.quality),
    )


def slow_down_interval(
    defended: QualityCurve, reference: QualityCurve, threshold: float, resampling: Resampling
) -> CountInterval:
    """Return how many times more steps the defended weights take than the reference, on the same draws of groups.

    Where a resample of the reference does not reach the threshold its ratio is unknown, and there is no interval.
    """
    groups = len(defended.quality)
    if min(len(defended.steps), len(reference.steps)) < 2:
        return CountInterval(None, None, None, groups)
    (value, values), (other, others) = (_counts(curve, threshold, resampling) for curve in (defended, reference))
    last = defended.steps[-1]
    ratio = slow_down(as_count(value, last), as_count(other, reference.steps[-1]))
    if groups < 2 or np.isnan(values).any() or not np.isfinite(others).all():
        return CountInterval(ratio, None, None, groups)
    # A censored count is at least the budget, so its ratio is at least budget ÷ reference.
    censored = np.isinf(values)
    ratios = np.where(censored, last, values) / others
    order = np.argsort(ratios, kind="stable")
    low, high = (_ratio_at(position, ratios[order], censored[order]) for position in _positions(len(order)))
    return CountInterval(ratio, low, high, groups)


def _ratio_at(position: int, ratios: Array, censored: NDArray[np.bool_]) -> float | Censored:
    """Return an order statistic of ratios of which some are lower bounds; it is one itself if one lies at or below."""
    value = float(ratios[position])
    return Censored(value) if censored[: position + 1].any() else value


def _counts(curve: QualityCurve, threshold: float, resampling: Resampling) -> tuple[float, Array]:
    return bootstrap_estimates(
        lambda *means: first_steps(curve.steps, recovery_ratio(*means), threshold), curve.samples, **resampling.options
    )


def _bounds(estimates: Array, groups: int) -> tuple[float | None, float | None]:
    if groups < 2 or np.isnan(estimates).any():
        return None, None
    ordered = np.sort(estimates)
    low, high = (float(ordered[position]) for position in _positions(len(ordered)))
    return low, high


def _positions(resamples: int) -> tuple[int, int]:
    """Return which order statistics bound an interval (the inverse of the empirical distribution)."""
    low, high = (max(0, math.ceil(share * resamples - 1e-9) - 1) for share in tails())
    return low, high


def _common(defended: QualityCurve, undefended: QualityCurve) -> tuple[QualityCurve, QualityCurve]:
    length = min(len(defended.steps), len(undefended.steps))
    cut = defended.until(length), undefended.until(length)
    if cut[0].steps != cut[1].steps:
        raise GeotrapError(f"curves were evaluated after {cut[0].steps} and {cut[1].steps} steps")
    return cut


def _undefined(curve: QualityCurve) -> Interval:
    return Interval(math.nan, None, None, len(curve.quality))
