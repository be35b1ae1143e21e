"""Means over object groups with bootstrap intervals, alone and paired.

The unit is the group: the values of one group's objects are averaged first, every group then weighs the same, and
resampling draws groups with replacement. Variants of one model are thus one observation, not several. Intervals are
percentile intervals; with fewer than two groups, or with a value that is not finite, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geotrap_cli.errors import GeotrapError

CONFIDENCE = 0.95
RESAMPLES = 2000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate over ``groups`` groups; ``low`` and ``high`` are None where no interval is defined."""

    value: float
    low: float | None
    high: float | None
    groups: int


@dataclass(frozen=True)
class PairedComparison:
    """Defended against undefended on the same objects: both means, their difference (defended - undefended) and ratio.

    The ratio is that of the two means; ``nan`` where the undefended mean is zero.
    """

    undefended: Interval
    defended: Interval
    difference: Interval
    ratio: Interval


def group_means(values: Sequence[float], groups: Sequence[str]) -> Array:
    """Return the mean of each group's values, in the order in which the groups first appear."""
    if not len(values) == len(groups) > 0:
        raise GeotrapError(f"{len(values)} values and {len(groups)} groups: one group per value is needed")
    members: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    return np.array([np.mean(member) for member in members.values()], dtype=np.float64)


def mean_interval(
    values: Sequence[float],
    groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean over groups and its bootstrap interval.

    Args:
        values: One value per object.
        groups: The group of each object.
        seed: Seed of the resampling; the same seed draws the same groups for every quantity.
        resamples: Number of bootstrap samples.
        confidence: Coverage of the interval, in (0, 1).
    """
    return _interval(np.mean, [group_means(values, groups)], seed, resamples, confidence)


def paired_comparison(
    undefended: Sequence[float],
    defended: Sequence[float],
    groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> PairedComparison:
    """Compare two models on the same objects, given in the same order; each draw takes both values of a group."""
    before, after = group_means(undefended, groups), group_means(defended, groups)
    options = (seed, resamples, confidence)
    return PairedComparison(
        undefended=_interval(np.mean, [before], *options),
        defended=_interval(np.mean, [after], *options),
        difference=_interval(lambda a, b, axis: np.mean(b - a, axis=axis), [before, after], *options),
        ratio=_interval(_ratio_of_means, [before, after], *options),
    )


def _ratio_of_means(before: Array, after: Array, axis: int) -> Array:
    denominator = np.mean(before, axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, np.mean(after, axis=axis) / denominator)


def _interval(
    statistic: Callable[..., Array | np.floating], samples: list[Array], seed: int, resamples: int, confidence: float
) -> Interval:
    groups = len(samples[0])
    with np.errstate(invalid="ignore"):
        value = float(statistic(*samples, axis=-1))
    if groups < 2 or not math.isfinite(value):
        return Interval(value, None, None, groups)
    draws = np.random.default_rng(seed).integers(0, groups, (resamples, groups))
    estimates = np.asarray(statistic(*(sample[draws] for sample in samples), axis=-1))
    if not np.isfinite(estimates).all():
        return Interval(value, None, None, groups)
    low, high = np.quantile(estimates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), groups)
