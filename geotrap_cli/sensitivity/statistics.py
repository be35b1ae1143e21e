"""Ratios of mean norms, target ÷ source, with bootstrap intervals over object groups, for all units at once.

Target and source objects are different objects, so their groups are resampled independently of each other. All units
and losses see the same draws: a geometric mean of ratios is thus that of ratios from one draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    sides = GroupedNorms.of(target, source, target_groups, source_groups)
    values = sides.ratios()
    draws = sides.draw(seed, resamples)
    if draws is None:
        return [Interval(float(value), None, None, sides.groups) for value in values]
    estimates = sides.ratios(draws)
    return [_interval(value, estimates[:, unit], sides.groups) for unit, value in enumerate(values)]


@dataclass(frozen=True)
class Draws:
    """Weights of the groups in each bootstrap draw, [R, groups], of both sides."""

    target: Array
    source: Array


@dataclass(frozen=True)
class GroupedNorms:
    """Mean norms of the groups of both sides, for each loss [groups, U]."""

    target: list[Array]
    source: list[Array]

    @classmethod
    def of(
        cls,
        target: Sequence[Array],
        source: Sequence[Array],
        target_groups: Sequence[str],
        source_groups: Sequence[str],
    ) -> GroupedNorms:
        """Average the samples of each group; arguments as for :func:`ratio_intervals`."""
        above = [group_rows(norms, target_groups) for norms in target]
        below = [group_rows(norms, source_groups) for norms in source]
        return cls(above, below)

    @property
    def groups(self) -> int:
        """Groups of the side that has fewer."""
        return min(len(self.target[0]), len(self.source[0]))

    def draw(self, seed: int, resamples: int) -> Draws | None:
        """Draw groups of both sides, the same for all losses and units; None where a side has fewer than two."""
        if self.groups < 2:
            return None
        rng = np.random.default_rng(seed)
        return Draws(*(draw_weights(rng, len(side[0]), resamples) for side in (self.target, self.source)))

    def ratios(self, draws: Draws | None = None) -> Array:
        """Geometric mean of the ratios of means over the losses: [U], or of each draw [R, U]."""
        above, below = self.target_means(draws), _means(self.source, None if draws is None else draws.source)
        return geometric_mean([_ratio(a, b) for a, b in zip(above, below, strict=True)])

    def target_means(self, draws: Draws | None = None) -> list[Array]:
        """Mean norm on target objects, per loss: [U], or of each draw [R, U]."""
        return _means(self.target, None if draws is None else draws.target)


def _means(rows: Sequence[Array], weights: Array | None) -> list[Array]:
    return [norms.mean(axis=0) if weights is None else weights @ norms for norms in rows]


def group_rows(norms: Array, groups: Sequence[str]) -> Array:
    """Mean of each group's rows, [groups, U]."""
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    return np.stack([norms[members == index].mean(axis=0) for index in range(len(names))])


def draw_weights(rng: np.random.Generator, groups: int, resamples: int) -> Array:
    """Weights [resamples, groups] of as many groups drawn with replacement."""
    return rng.multinomial(groups, np.full(groups, 1 / groups), resamples) / groups


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def geometric_mean(ratios: Sequence[Array]) -> Array:
    """Geometric mean over a list of arrays of one shape, entry by entry; NaN where one is."""
    if len(ratios) == 1:
        return ratios[0]
    with np.errstate(divide="ignore"):
        return np.exp(np.mean(np.log(ratios), axis=0))


def _interval(value: float, estimates: Array, groups: int) -> Interval:
    if not np.isfinite(value) or not np.isfinite(estimates).all():
        return Interval(float(value), None, None, groups)
    low, high = np.quantile(estimates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(value), float(low), float(high), groups)
