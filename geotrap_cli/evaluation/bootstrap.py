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
class Resampling:
    """How intervals are drawn: the seed and the number of bootstrap samples."""

    seed: int
    resamples: int

    @property
    def options(self) -> dict[str, int]:
        """The fields, as keyword arguments."""
        return {"seed": self.seed, "resamples": self.resamples}


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
    means = [group_means(values, groups)]
    return interval_of_means(lambda mean: mean, means, seed=seed, resamples=resamples, confidence=confidence)


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
    samples = [group_means(undefended, groups), group_means(defended, groups)]

    def interval(function: Callable[[Array, Array], Array]) -> Interval:
        return interval_of_means(function, samples, seed=seed, resamples=resamples, confidence=confidence)

    return PairedComparison(
        undefended=interval(lambda before, _: before),
        defended=interval(lambda _, after: after),
        difference=interval(lambda before, after: after - before),
        ratio=interval(_ratio),
    )


def interval_of_means(
    function: Callable[..., Array],
    samples: Sequence[Array],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return a function of means over groups, with its bootstrap interval.

    Args:
        function: Maps one mean for each sample, each ``[..., *S]`` with the resamples leading, to ``[...]``.
        samples: Arrays ``[G, *S]`` over the same ``G`` groups; a draw takes all values of a group together.
        seed: Seed of the resampling; the same seed draws the same groups for every quantity.
        resamples: Number of bootstrap samples.
        confidence: Coverage of the interval, in (0, 1).
    """
    groups = len(samples[0])
    value, estimates = bootstrap_estimates(function, samples, seed=seed, resamples=resamples)
    if groups < 2 or not (math.isfinite(value) and np.isfinite(estimates).all()):
        return Interval(value, None, None, groups)
    low, high = np.quantile(estimates, tails(confidence))
    return Interval(value, float(low), float(high), groups)


def bootstrap_estimates(
    function: Callable[..., Array], samples: Sequence[Array], *, seed: int, resamples: int
) -> tuple[float, Array]:
    """Return the value on the sample and on each resample, ``[resamples]``; arguments as for `interval_of_means`."""
    draws = np.random.default_rng(seed).integers(0, len(samples[0]), (resamples, len(samples[0])))
    with np.errstate(invalid="ignore"):
        value = float(function(*(sample.mean(axis=0) for sample in samples)))
        estimates = np.asarray(function(*(sample[draws].mean(axis=1) for sample in samples)))
    return value, estimates


def tails(confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two probabilities between which a share ``confidence`` lies."""
    return (1 - confidence) / 2, (1 + confidence) / 2


def _ratio(before: Array, after: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(before == 0, np.nan, after / before)
