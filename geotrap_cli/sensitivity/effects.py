"""What holding a unit costs the attacker, and whether the scores of the analysis foresaw it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.evaluation.bootstrap import CONFIDENCE, Interval, group_means, mean_interval, paired_comparison
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.sensitivity.causal import final_quality
from geotrap_cli.sensitivity.gradients import Array
from geotrap_cli.sensitivity.resampled import ResampledScore
from geotrap_cli.sensitivity.statistics import draw_weights

# Keeps the draws of held-out objects apart from those of the analysed ones, which are other objects.
_HELD_OUT = 1


@dataclass(frozen=True)
class CausalEffect:
    """What one unit is worth to the attacker.

    Attributes:
        unit: The unit that was frozen, reset or rolled back.
        effect: Foreground PSNR of held-out target objects that the attack loses by it, dB; positive: the attack needs
            the unit.
        kept: Share of the attack's gain that is left without the unit; NaN where the attack gains nothing.
    """

    unit: str
    effect: Interval
    kept: Interval

    def record(self) -> dict[str, str | float | int | None]:
        """Return the effect as flat fields."""
        flat: dict[str, str | float | int | None] = {"unit": self.unit}
        for name, interval in (("effect_db", self.effect), ("gain_kept", self.kept)):
            flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat | {"groups": self.effect.groups}


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of one score with the effect over the units.

    Attributes:
        score: Name of the score.
        rho: In [−1, 1]; NaN where one of the two is the same for all units.
        units: Units that have both.
    """

    score: str
    rho: Interval
    units: int


def gain(unfrozen: Cell, *, seed: int, resamples: int) -> Interval:
    """Foreground PSNR of held-out target objects that the attack as it is wins, dB."""
    values, groups = _difference(final_quality(unfrozen), _before(unfrozen)), _groups(unfrozen)
    return mean_interval(values, groups, seed=seed, resamples=resamples)


def causal_effects(unfrozen: Cell, without: Mapping[str, Cell], *, seed: int, resamples: int) -> list[CausalEffect]:
    """Compare the attack without each unit to the attack as it is, on the same objects, paired.

    Args:
        unfrozen: The attack as it is.
        without: The attack without each unit, by unit.
        seed: Seed of the resampling of groups.
        resamples: Number of bootstrap samples.
    """
    before, groups = _before(unfrozen), _groups(unfrozen)
    gained = _difference(final_quality(unfrozen), before)
    certain = (gain(unfrozen, seed=seed, resamples=resamples).low or 0.0) > 0
    effects = []
    for unit, cell in without.items():
        effect = mean_interval(_losses(unfrozen, cell), groups, seed=seed, resamples=resamples)
        left = _difference(final_quality(cell), before)
        kept = paired_comparison(gained, left, groups, seed=seed, resamples=resamples).ratio
        effects.append(CausalEffect(unit, effect, _where_gained(kept, group_means(gained, groups).mean(), certain)))
    return effects


def _where_gained(kept: Interval, gained: float, certain: bool) -> Interval:
    """A share of a gain that is not above zero is none, and one of a gain that may be zero has no interval."""
    value = kept.value if gained > 0 else math.nan
    return kept if certain else Interval(value, None, None, kept.groups)


def correlate(
    scores: Mapping[str, ResampledScore],
    unfrozen: Cell,
    without: Sequence[Cell],
    *,
    seed: int,
    resamples: int,
) -> list[Correlation]:
    """Correlate each score with the effects, over the units of ``without``.

    The interval shows how far both are known: in each bootstrap draw the score comes from a draw of the analysed groups
    and the effects from a draw of the held-out groups. It does not cover the choice of units.

    Args:
        scores: Of the same units as ``without``, by name.
        unfrozen: The attack as it is.
        without: The attack without each unit.
        seed: Seed of the resampling.
        resamples: Number of bootstrap samples, R.
    """
    groups = _groups(unfrozen)
    rows = np.stack([group_means(_losses(unfrozen, cell), groups) for cell in without], axis=1)
    draws = None
    if len(rows) > 1:
        draws = draw_weights(np.random.default_rng([seed, _HELD_OUT]), len(rows), resamples) @ rows
    return [_correlate(name, score, rows, draws) for name, score in scores.items()]


def _correlate(name: str, score: ResampledScore, rows: Array, effect_draws: Array | None) -> Correlation:
    values, score_draws = score.values, score.draws
    defined = np.isfinite(values) & np.isfinite(rows).all(axis=0)
    count, groups = int(defined.sum()), len(rows)
    rho = float(rank_correlation(values[None, defined], rows.mean(axis=0)[None, defined])[0])
    if math.isnan(rho) or score_draws is None or effect_draws is None:
        return Correlation(name, Interval(rho, None, None, groups), count)
    estimates = rank_correlation(score_draws[:, defined], effect_draws[:, defined])
    if not np.isfinite(estimates).all():
        return Correlation(name, Interval(rho, None, None, groups), count)
    low, high = np.quantile(estimates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Correlation(name, Interval(rho, float(low), float(high), groups), count)


def rank_correlation(first: Array, second: Array) -> Array:
    """Spearman's rank correlation of each row, [R, U] and [R, U] -> [R]; NaN for a constant row or a single unit."""
    from scipy.stats import rankdata

    if first.shape[1] < 2:
        return np.full(len(first), np.nan)
    a, b = (rankdata(rows, axis=1, nan_policy="propagate") for rows in (first, second))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _losses(unfrozen: Cell, cell: Cell) -> list[float]:
    """What the attack loses on each object without the unit, dB."""
    return _difference(final_quality(unfrozen), final_quality(cell))


def _before(cell: Cell) -> list[float]:
    return [score.metrics[HEADLINE] for score in cell.evaluations[0].target]


def _groups(cell: Cell) -> list[str]:
    return [score.group for score in cell.evaluations[0].target]


def _difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=True)]
