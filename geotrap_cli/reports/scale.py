"""From decibels to recovery: 0 is a white image, 1 the best that any attack reaches on the undefended weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.evaluation.bootstrap import Interval, Resampling, group_means, paired_comparison
from geotrap_cli.evaluation.cells import UNDEFENDED
from geotrap_cli.evaluation.curves import QualityCurve
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE
from geotrap_cli.reports.pairing import AttackPair, metric_values
from geotrap_cli.reports.quality import best_quality, best_step, group_mean, nan_last


@dataclass(frozen=True)
class Scale:
    """What decibels mean here, in foreground PSNR on the held-out target objects: recovery 0 and recovery 1.

    Attributes:
        floor: A white image, for each object in the order of the ids.
        ceiling: The undefended weights where they are best over all attacks and steps, for each object.
        groups: The group of each object.
        pair: The attack that sets the ceiling.
        step: The step at which it does.
    """

    floor: list[float]
    ceiling: list[float]
    groups: list[str]
    pair: AttackPair
    step: int

    @property
    def method(self) -> str:
        """Name of the attack that sets the ceiling."""
        return self.pair.method

    @property
    def floor_db(self) -> float:
        """Mean of a white image over groups."""
        return group_mean(self.floor, self.groups)

    @property
    def ceiling_db(self) -> float:
        """Mean of the best undefended result over groups."""
        return group_mean(self.ceiling, self.groups)

    def recovery(self, values: Sequence[float], resampling: Resampling) -> Interval:
        """Return ``rho`` of one model's foreground PSNR per object; NaN where floor and ceiling define none.

        The interval resamples groups, with floor, ceiling and quality of a group drawn together. The steps at which
        ceiling and peak lie are taken as given.
        """
        groups = len(set(self.groups))
        span = self.ceiling_db - self.floor_db
        if not (math.isfinite(span) and span > 0):
            return Interval(math.nan, None, None, groups)
        reachable, reached = (
            [value - floor for value, floor in zip(quality, self.floor, strict=True)]
            for quality in (self.ceiling, values)
        )
        return paired_comparison(reachable, reached, self.groups, **resampling.options).ratio

    def curve(self, steps: Sequence[int], quality: Sequence[Sequence[float]]) -> QualityCurve:
        """Return the foreground PSNR of one model per evaluation and object as a curve over groups, on this scale."""
        by_group = np.stack([group_means(values, self.groups) for values in quality], axis=-1)
        bounds = (group_means(bound, self.groups) for bound in (self.floor, self.ceiling))
        return QualityCurve(tuple(steps), by_group, *bounds)


def common_scale(pairs: Sequence[AttackPair]) -> Scale:
    """Return floor and ceiling over attacks that were measured on the same objects and views."""
    # An attack whose quality is NaN sets no ceiling; if all are, the ceiling is NaN.
    best = max(pairs, key=lambda pair: nan_last(best_quality(pair, UNDEFENDED)))
    step = best_step(best, UNDEFENDED)
    scores = best.scores(UNDEFENDED, "target", step) or []
    return Scale(metric_values(scores, FLOOR), metric_values(scores, HEADLINE), best.groups, best, step)
