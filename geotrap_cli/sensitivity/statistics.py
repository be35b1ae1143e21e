"""Ratios of mean norms, target ÷ source, with bootstrap intervals over object groups, for all units at once.

Target and source objects are different objects, so their groups are resampled independently of each other. All units
and losses see the same draws: a geometric mean of ratios is thus that of ratios from one draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geotrap_cli.evaluation.bootstrap import CONFIDENCE, RESAMPLES, Interval
from geotrap_cli.sensitivity.gradients import Array


def ratio_intervals(
    target: Sequence[Array],
    source: Sequence[Array],
    target_groups: Sequence[str],
    source_groups: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Interval]:
    """Geometric mean over the losses of (mean target norm ÷ mean source norm), for each unit.

    Groups weigh the same, whatever their number of objects. The value is NaN where a source mean is zero; there is no
    interval then, nor where a side has fewer than two groups, nor where a draw gives no finite ratio.

    Args:
        target: For each loss the norms of the target objects, [objects, U]; one loss gives its plain ratio.
        source: The same losses on source objects.
        target_groups: The group of each target object.
        source_groups: The group of each source object.
        seed: Seed of the resampling.
        resamples: Number of bootstrap samples.
    """
    above = [group_rows(norms, target_groups) for norms in target]
    below = [group_rows(norms, source_groups) for norms in source]
    values = _geometric_mean([_ratio(a.mean(axis=0), b.mean(axis=0)) for a, b in zip(above, below, strict=True)])
    groups = min(len(above[0]), len(below[0]))
    if groups < 2:
        return [Interval(float(value), None, None, groups) for value in values]
    rng = np.random.default_rng(seed)
    draws, others = (_draw_weights(rng, len(side[0]), resamples) for side in (above, below))
    estimates = _geometric_mean([_ratio(draws @ a, others @ b) for a, b in zip(above, below, strict=True)])
    return [_interval(value, estimates[:, unit], groups) for unit, value in enumerate(values)]


def group_rows(norms: Array, groups: Sequence[str]) -> Array:
    """Mean of each group's rows, [groups, U]."""
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    return np.stack([norms[members == index].mean(axis=0) for index in range(len(names))])


def _draw_weights(rng: np.random.Generator, groups: int, resamples: int) -> Array:
    """Weights [resamples, groups] of as many groups drawn with replacement."""
    return rng.multinomial(groups, np.full(groups, 1 / groups), resamples) / groups


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def _geometric_mean(ratios: Sequence[Array]) -> Array:
    if len(ratios) == 1:
        return ratios[0]
    with np.errstate(divide="ignore"):
        return np.exp(np.mean(np.log(ratios), axis=0))


def _interval(value: float, estimates: Array, groups: int) -> Interval:
    if not np.isfinite(value) or not np.isfinite(estimates).all():
        return Interval(float(value), None, None, groups)
    low, high = np.quantile(estimates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(value), float(low), float(high), groups)
