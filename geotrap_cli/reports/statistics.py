"""What one attack recovers: ratios, areas, gaps, counts and costs of a pair of cells, with intervals over groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.evaluation.bootstrap import Interval, Resampling, group_means
from geotrap_cli.evaluation.cells import DEFENDED, REFERENCES, SCRATCH, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.curves import (
    CountInterval,
    QualityCurve,
    SimilarityGap,
    area_interval,
    area_ratio,
    count_interval,
    similarity_gap,
    slow_down_interval,
)
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.evaluation.recovery import AXES, THRESHOLDS, StepAxis
from geotrap_cli.profile.schema import EvalTable
from geotrap_cli.reports.pairing import AttackPair, metric_values
from geotrap_cli.reports.quality import quality
from geotrap_cli.reports.scale import Scale, common_scale

_DISTANCES = ("lpips", "lpips_custom_trunk")
_SIMILARITIES = (HEADLINE, "ssim", *_DISTANCES)


@dataclass(frozen=True)
class Recovered:
    """Steps until a share of the ceiling is reached, and how many times more the defended weights take.

    Attributes:
        threshold: The share.
        counts: Steps of ``undefended``, ``defended`` and the reference weights that were attacked, as ``scratch``.
        slow_down: Defended ÷ each of the others.
    """

    threshold: float
    counts: Mapping[str, CountInterval]
    slow_down: Mapping[str, CountInterval]


@dataclass(frozen=True)
class BoundedRecovery:
    """The largest recovery among the evaluations at which the attacked weights still work on source objects.

    Attributes:
        bound: Largest loss of source quality that counts as working (dB), against the undefended weights before the
            attack.
        recovery: None where source was not measured, or no evaluation keeps to the bound.
        step: Where it is reached.
        measured: Whether source was measured.
    """

    bound: float
    recovery: Interval | None
    step: int | None
    measured: bool


@dataclass(frozen=True)
class AttackStatistics:
    """The numbers of one attack.

    Attributes:
        recovery: ``rho`` of each subject at each of its own evaluations.
        areas: Area under recovery by step axis and subject.
        resistance: ``1 - AURC_d / AURC_0`` by step axis.
        gaps: The relative gap SGR by similarity; LPIPS enters as 1 - LPIPS.
        counts: Steps to recover, by ascending threshold.
        bounded: Recovery under a bound on the loss of source quality.
        benign: AURC on benign objects, defended ÷ undefended; None where that control was not run.
        scratch: The attack whose training from scratch the steps are compared with; None where there is none.
    """

    recovery: Mapping[str, list[Interval]]
    areas: Mapping[StepAxis, Mapping[str, Interval]]
    resistance: Mapping[StepAxis, Interval]
    gaps: Mapping[str, SimilarityGap]
    counts: list[Recovered]
    bounded: BoundedRecovery
    benign: Interval | None
    scratch: AttackPair | None

    @property
    def peak_index(self) -> int:
        """Index of the evaluation at which the defended weights recover most; of the first NaN where there is one."""
        # argmax takes the first NaN for the maximum.
        return int(np.argmax([point.value for point in self.recovery[DEFENDED]]))


def attack_statistics(
    pair: AttackPair, scale: Scale, limits: EvalTable, resampling: Resampling, scratch: AttackPair | None = None
) -> AttackStatistics:
    """Return the numbers of ``pair`` on the scale that all attacks of a comparison share.

    Args:
        pair: The measurements.
        scale: What recovery is counted on.
        limits: When a result counts.
        resampling: How intervals are drawn.
        scratch: Whose training from scratch the steps to recover are compared with, where ``pair`` has none.
    """
    subjects = [*SUBJECTS, *(name for name in REFERENCES if name in pair.controls)]
    curves = {subject: _headline_curve(pair, subject, scale) for subject in subjects}
    if pair.scratch is not None:
        scratch = pair
    timed = curves if scratch is None else {SCRATCH: _headline_curve(scratch, SCRATCH, scale)} | curves
    recovery = {subject: _recovery(pair, subject, scale, resampling) for subject in subjects}
    return AttackStatistics(
        recovery=recovery,
        areas={axis: {name: area_interval(curve, axis, resampling) for name, curve in curves.items()} for axis in AXES},
        resistance={axis: area_ratio(curves[DEFENDED], curves[UNDEFENDED], axis, resampling) for axis in AXES},
        gaps=_gaps(pair, scale, resampling),
        counts=[
            _recovered(curves, timed, share, resampling) for share in sorted({*THRESHOLDS, limits.recover_threshold})
        ],
        bounded=_bounded(pair, recovery[DEFENDED], limits.attacker_source_bound_db),
        benign=_benign_trainability(pair, resampling),
        scratch=scratch,
    )


def _headline_curve(pair: AttackPair, subject: str, scale: Scale) -> QualityCurve:
    return scale.curve(pair.own_steps(subject), _values(pair, subject, HEADLINE))


def _values(pair: AttackPair, subject: str, metric: str) -> list[list[float]]:
    """Return one metric per evaluation and target object, objects in the order of their ids."""
    scores = (pair.scores(subject, "target", step) or [] for step in pair.own_steps(subject))
    return [metric_values(found, metric) for found in scores]


def _recovery(pair: AttackPair, subject: str, scale: Scale, resampling: Resampling) -> list[Interval]:
    return [scale.recovery(values, resampling) for values in _values(pair, subject, HEADLINE)]


def _gaps(pair: AttackPair, scale: Scale, resampling: Resampling) -> dict[str, SimilarityGap]:
    measured = pair.defended.evaluations[0].target[0].metrics
    gaps = {}
    for metric in (name for name in _SIMILARITIES if name in measured):
        sides = [_similarity_curve(pair, subject, metric, scale) for subject in (DEFENDED, UNDEFENDED)]
        name = f"1 - {metric}" if metric in _DISTANCES else metric
        gaps[name] = similarity_gap(sides[0], sides[1], resampling)
    return gaps


def _similarity_curve(pair: AttackPair, subject: str, metric: str, scale: Scale) -> QualityCurve:
    by_group = np.stack([group_means(values, scale.groups) for values in _values(pair, subject, metric)], axis=-1)
    unused = np.zeros(len(by_group))
    values = 1 - by_group if metric in _DISTANCES else by_group
    return QualityCurve(tuple(pair.own_steps(subject)), values, unused, unused)


def _recovered(
    curves: Mapping[str, QualityCurve], timed: Mapping[str, QualityCurve], share: float, resampling: Resampling
) -> Recovered:
    return Recovered(
        share,
        {name: count_interval(curve, share, resampling) for name, curve in curves.items()},
        {
            name: slow_down_interval(curves[DEFENDED], curve, share, resampling)
            for name, curve in timed.items()
            if name != DEFENDED
        },
    )


def _bounded(pair: AttackPair, recovery: Sequence[Interval], bound: float) -> BoundedRecovery:
    released = quality(pair, UNDEFENDED, "source", 0)
    after = {step: quality(pair, DEFENDED, "source", step) for step in pair.own_steps(DEFENDED)}
    points = dict(zip(after, recovery, strict=True))
    losses = {step: released - value for step, value in after.items() if value is not None and released is not None}
    working = [step for step, loss in losses.items() if loss <= bound and not math.isnan(points[step].value)]
    step = max(working, key=lambda at: points[at].value, default=None)
    return BoundedRecovery(bound, None if step is None else points[step], step, bool(losses))


def _benign_trainability(pair: AttackPair, resampling: Resampling) -> Interval | None:
    """Return what is left of the undefended weights' area under recovery on benign objects, on a scale of its own."""
    if pair.benign is None:
        return None
    scale = common_scale([pair.benign])
    sides = [_headline_curve(pair.benign, subject, scale) for subject in (DEFENDED, UNDEFENDED)]
    return area_ratio(sides[0], sides[1], "linear", resampling, complement=False)
