"""How far each attack gets on the defended weights, and whether that may be read as evidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.evaluation.recovery import THRESHOLDS, Censored, area_under_recovery, slow_down, steps_to_recover
from geotrap_cli.evaluation.validity import (
    AttackHealth,
    Evidence,
    Limits,
    Reason,
    State,
    Verdict,
    excess_saturation,
    judge,
)
from geotrap_cli.profile.schema import EvalTable
from geotrap_cli.reports.pairing import AttackPair, metric_values
from geotrap_cli.reports.quality import best_quality, max_or_nan, nan_last, quality
from geotrap_cli.reports.scale import Resampling, Scale, common_scale

DESATURATE = "desaturate"


@dataclass(frozen=True)
class Recovered:
    """Steps until a share of the ceiling is reached; None where that is unknown."""

    threshold: float
    undefended: int | Censored | None
    defended: int | Censored | None

    @property
    def slow_down(self) -> float | Censored | None:
        """How many times more steps the defended weights take."""
        return slow_down(self.defended, self.undefended)


@dataclass(frozen=True)
class JudgedAttack:
    """One attack with what it recovers, and its verdict.

    Attributes:
        pair: The measurements.
        recovery: ``rho`` of each subject at each of its own evaluations.
        counts: Steps to recover, by ascending threshold.
        evidence: What the verdict rests on.
        verdict: Whether the numbers may be believed.
    """

    pair: AttackPair
    recovery: dict[str, list[Interval]]
    counts: list[Recovered]
    evidence: Evidence
    verdict: Verdict

    @property
    def method(self) -> str:
        """Key of the attack."""
        return self.pair.method

    @property
    def peak(self) -> Interval:
        """The recovery of the attack: the largest ``rho`` of the defended weights; NaN when any of them is."""
        return self.recovery[DEFENDED][self._peak_index]

    @property
    def peak_step(self) -> int:
        """The step at which it is reached; 0 where the attack adds nothing to what the weights could do before it."""
        return self.pair.own_steps(DEFENDED)[self._peak_index]

    @property
    def _peak_index(self) -> int:
        # argmax takes the first NaN for the maximum.
        return int(np.argmax(_values(self.recovery[DEFENDED])))

    def area(self, subject: str) -> float:
        """Return the mean of ``rho`` over the attack's steps; NaN for an attack that was evaluated once."""
        steps = self.pair.own_steps(subject)
        return area_under_recovery(steps, _values(self.recovery[subject])) if len(steps) > 1 else math.nan


def judge_attacks(
    pairs: Sequence[AttackPair], limits: EvalTable, resampling: Resampling
) -> tuple[Scale, list[JudgedAttack]]:
    """Judge every attack on one common scale; the ceiling is the best that any of them reaches without a defense."""
    scale = common_scale(pairs)
    curves = {pair.method: _recovery_curves(pair, scale, resampling) for pair in pairs}
    desaturated = [_reaches(curves[pair.method], limits) for pair in pairs if pair.method == DESATURATE]
    judged = []
    for pair in pairs:
        evidence = _evidence(pair, scale, desaturated[0] if desaturated else None, bool(desaturated))
        recovery = curves[pair.method]
        verdict = _verdict(evidence, recovery[DEFENDED], Limits(source_tolerance_db=limits.source_tolerance_db))
        counts = _counts(pair, recovery, limits.recover_threshold)
        judged.append(JudgedAttack(pair, recovery, counts, evidence, verdict))
    return scale, judged


def worst_case(judged: Sequence[JudgedAttack]) -> JudgedAttack:
    """Return the attack that recovers most; one whose recovery is undefined comes last, it shows nothing."""
    return max(judged, key=lambda attack: nan_last(attack.peak.value))


def _values(curve: Sequence[Interval]) -> list[float]:
    return [point.value for point in curve]


def _recovery_curves(pair: AttackPair, scale: Scale, resampling: Resampling) -> dict[str, list[Interval]]:
    return {
        subject: [
            scale.recovery(metric_values(pair.scores(subject, "target", step) or [], HEADLINE), resampling)
            for step in pair.own_steps(subject)
        ]
        for subject in SUBJECTS
    }


def _reaches(curves: dict[str, list[Interval]], limits: EvalTable) -> bool | None:
    peak = max_or_nan(_values(curves[DEFENDED]))
    return None if math.isnan(peak) else peak >= limits.recover_threshold


def _counts(pair: AttackPair, recovery: dict[str, list[Interval]], threshold: float) -> list[Recovered]:
    def count(subject: str, share: float) -> int | Censored | None:
        steps = pair.own_steps(subject)
        return steps_to_recover(steps, _values(recovery[subject]), share) if len(steps) > 1 else None

    shares = sorted({*THRESHOLDS, threshold})
    return [Recovered(share, count(UNDEFENDED, share), count(DEFENDED, share)) for share in shares]


def _evidence(pair: AttackPair, scale: Scale, desaturated: bool | None, desaturate_run: bool) -> Evidence:
    best = best_quality(pair, UNDEFENDED)
    start = quality(pair, UNDEFENDED, "target", 0)
    source = [quality(pair, subject, "source", 0) for subject in SUBJECTS]
    return Evidence(
        ceiling=scale.ceiling_db,
        floor=scale.floor_db,
        undefended_gain=None if start is None else best - start,
        defended_quality=best_quality(pair, DEFENDED),
        source_loss=None if source[0] is None or source[1] is None else source[0] - source[1],
        health=_health(pair),
        desaturate_run=desaturate_run,
        desaturate_recovered=desaturated,
    )


def _health(pair: AttackPair) -> AttackHealth | None:
    """Return the health of the attack on the defended weights, its saturation in excess of the undefended ones.

    Where the other half diverged, so did the pair.
    """
    health, reference = pair.defended.health, pair.undefended.health
    if health is None or reference is None:
        return None
    return dataclasses.replace(
        health,
        saturated_share=excess_saturation(health.saturated_share, reference.saturated_share),
        nonfinite=_total(health.nonfinite, reference.nonfinite),
    )


def _total(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _verdict(evidence: Evidence, curve: Sequence[Interval], limits: Limits) -> Verdict:
    verdict = judge(evidence, limits)
    if verdict.state is State.VALID and math.isnan(max_or_nan(_values(curve))):
        reason = Reason(State.NOT_RUN, f"no recovery is defined: floor {evidence.floor}, ceiling {evidence.ceiling} dB")
        return Verdict(State.NOT_RUN, (reason,), verdict.not_tested)
    return verdict
