"""How far each attack gets on the defended weights, and whether that may be read as evidence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geotrap_cli.evaluation.bootstrap import Interval, Resampling
from geotrap_cli.evaluation.cells import DEFENDED, SCRATCH, SUBJECTS, UNDEFENDED
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
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.reports.quality import best_quality, max_or_nan, nan_last, quality
from geotrap_cli.reports.scale import Scale, common_scale
from geotrap_cli.reports.statistics import AttackStatistics, attack_statistics

DESATURATE = "desaturate"


@dataclass(frozen=True)
class JudgedAttack:
    """One attack with what it recovers, and its verdict.

    Attributes:
        pair: The measurements.
        label: What it is called beside the other attacks of the comparison.
        statistics: Its numbers.
        evidence: What the verdict rests on.
        verdict: Whether the numbers may be believed.
    """

    pair: AttackPair
    label: str
    statistics: AttackStatistics
    evidence: Evidence
    verdict: Verdict

    @property
    def method(self) -> str:
        """Name of the attack's variant."""
        return self.pair.method

    @property
    def peak(self) -> Interval:
        """The recovery of the attack: the largest ``rho`` of the defended weights; NaN when any of them is."""
        return self.statistics.recovery[DEFENDED][self.statistics.peak_index]

    @property
    def peak_step(self) -> int:
        """The step at which it is reached; 0 where the attack adds nothing to what the weights could do before it."""
        return self.pair.own_steps(DEFENDED)[self.statistics.peak_index]


def judge_attacks(
    pairs: Sequence[AttackPair], limits: EvalTable, resampling: Resampling, scale: Scale | None = None
) -> tuple[Scale, list[JudgedAttack]]:
    """Judge every attack on one common scale; the ceiling is the best that any of them reaches without a defense.

    With ``scale``, that is the scale: the one that several defenses share.
    """
    scale = scale or common_scale(pairs)
    numbers = [
        attack_statistics(pair, scale, limits, resampling, from_scratch(pairs, pair.defended.seed)) for pair in pairs
    ]
    suite = _suite_facts(pairs, numbers, limits)
    judged = []
    for pair, label, statistics in zip(pairs, labels(pairs), numbers, strict=True):
        evidence = dataclasses.replace(_evidence(pair, scale), **suite)
        curve = [point.value for point in statistics.recovery[DEFENDED]]
        verdict = _verdict(evidence, curve, verdict_limits(limits))
        judged.append(JudgedAttack(pair, label, statistics, evidence, verdict))
    return scale, judged


def from_scratch(pairs: Sequence[AttackPair], seed: int) -> AttackPair | None:
    """Return the attack of a seed that does best on random weights: how long training from scratch takes at least."""
    trained = [pair for pair in pairs if pair.scratch is not None and pair.defended.seed == seed]
    return max(trained, key=lambda pair: nan_last(best_quality(pair, SCRATCH)), default=None)


def suite_verdict(judged: Sequence[JudgedAttack], limits: EvalTable) -> Verdict:
    """Return the verdict on all attacks taken as one attacker: that of the worst, measured against the best undefended.

    Whether an attack is strong enough shows on the undefended weights. One attacker who tries them all is as strong
    there as the best of them, so a worst case that another attack outdoes there is still evidence. Whatever seed loses
    most on source is what the defense costs: attacks of several seeds are attacks on several sets of weights.
    """
    worst = worst_case(judged)
    losses = [attack.evidence.source_loss for attack in judged if attack.evidence.source_loss is not None]
    gains = [attack.evidence.undefended_gain for attack in judged if attack.evidence.undefended_gain is not None]
    defined = [gain for gain in gains if not math.isnan(gain)]
    evidence = dataclasses.replace(
        worst.evidence,
        undefended_gain=max(defined) if defined else worst.evidence.undefended_gain,
        undefended_quality=worst.evidence.ceiling,
        source_loss=max_or_nan(losses) if losses else None,
    )
    curve = [point.value for point in worst.statistics.recovery[DEFENDED]]
    return _verdict(evidence, curve, verdict_limits(limits))


def verdict_limits(limits: EvalTable) -> Limits:
    """Return where the states begin under a profile."""
    return Limits(source_tolerance_db=limits.source_tolerance_db, ceiling_share=limits.recover_threshold)


def labels(pairs: Sequence[AttackPair]) -> list[str]:
    """Return a name for each pair, longer only where others share its method: with budget, settings or seed."""
    return [_label(pair, [other for other in pairs if other.method == pair.method]) for pair in pairs]


def _label(pair: AttackPair, namesakes: Sequence[AttackPair]) -> str:
    label = pair.method
    if len({other.defended.steps for other in namesakes}) > 1:
        label += f" ({pair.defended.steps} steps)"
    alike = [other for other in namesakes if other.defended.steps == pair.defended.steps]
    if len({other.defended.settings for other in alike}) > 1:
        label += f" #{pair.defended.settings[:6] or 'old'}"
    if len({other.defended.seed for other in namesakes}) > 1:
        label += f", seed {pair.defended.seed}"
    return label


def worst_case(judged: Sequence[JudgedAttack]) -> JudgedAttack:
    """Return the attack that recovers most; one whose recovery is undefined comes last, it shows nothing."""
    return max(judged, key=lambda attack: nan_last(attack.peak.value))


def _suite_facts(pairs: Sequence[AttackPair], numbers: Sequence[AttackStatistics], limits: EvalTable) -> dict[str, Any]:
    """Return the evidence that attacks give for each other: the controls, and the de-saturating attack."""
    tried = [index for index, pair in enumerate(pairs) if pair.defended.key == DESATURATE]
    peaks = [max_or_nan(point.value for point in numbers[index].recovery[DEFENDED]) for index in tried]
    defined = [peak for peak in peaks if not math.isnan(peak)]
    scratch = [best_quality(pair, SCRATCH) for pair in pairs if pair.scratch is not None]
    return {
        "desaturate_run": bool(tried),
        "desaturate_recovered": max(defined) >= limits.recover_threshold if defined else None,
        "desaturate_zero_gradient_share": _smallest([pairs[index].defended.health for index in tried]),
        "scratch_quality": max(scratch, key=nan_last) if scratch else None,
    }


def _smallest(records: Sequence[AttackHealth | None]) -> float | None:
    shares = [record.zero_gradient_share for record in records if record is not None]
    return min((share for share in shares if share is not None), default=None)


def _evidence(pair: AttackPair, scale: Scale) -> Evidence:
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
        undefended_quality=best,
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


def _verdict(evidence: Evidence, curve: Sequence[float], limits: Limits) -> Verdict:
    verdict = judge(evidence, limits)
    if verdict.state is State.VALID and math.isnan(max_or_nan(curve)):
        reason = Reason(State.NOT_RUN, f"no recovery is defined: floor {evidence.floor}, ceiling {evidence.ceiling} dB")
        return Verdict(State.NOT_RUN, (reason,), verdict.not_tested)
    return verdict
