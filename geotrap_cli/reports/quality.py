"""Foreground PSNR of one side of a pair: means over object groups, at a step and at its best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from geotrap_cli.evaluation.bootstrap import group_means
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.reports.pairing import AttackPair, Split, metric_values


def group_mean(values: Sequence[float], groups: Sequence[str]) -> float:
    """Return the mean over groups, every group weighing the same."""
    with np.errstate(invalid="ignore"):
        return float(group_means(values, groups).mean())


def quality(pair: AttackPair, subject: str, split: Split, step: int) -> float | None:
    """Return mean foreground PSNR over groups; None when not measured."""
    scores = pair.scores(subject, split, step)
    return None if scores is None else group_mean(metric_values(scores, HEADLINE), [score.group for score in scores])


def target_quality(pair: AttackPair, subject: str) -> list[float]:
    """Return mean foreground PSNR on target at each of the subject's own evaluations."""
    return [
        group_mean(metric_values(evaluation.target, HEADLINE), [score.group for score in evaluation.target])
        for evaluation in pair.cell(subject).evaluations
    ]


def best_quality(pair: AttackPair, subject: str) -> float:
    """Return the largest mean foreground PSNR on target over the attack; NaN when any of them is."""
    return max_or_nan(target_quality(pair, subject))


def max_or_nan(values: Iterable[float]) -> float:
    """Return the maximum, or NaN when one of the values is."""
    return float(np.max(np.fromiter(values, dtype=np.float64)))


def best_step(pair: AttackPair, subject: str) -> int:
    """Return the step at which one subject is best; the first at which its quality is NaN."""
    # argmax takes the first NaN for the maximum.
    return pair.own_steps(subject)[int(np.argmax(target_quality(pair, subject)))]


def nan_last(value: float) -> float:
    """Return a key for which NaN is less than every number."""
    return -math.inf if math.isnan(value) else value
