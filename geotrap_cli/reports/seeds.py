"""Trials of one attack that differ by their seed: steps as survival times, and how the recovery spreads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.recovery import Count, best_so_far, log_rank_p_value, median_steps
from geotrap_cli.reports.judgement import JudgedAttack


@dataclass(frozen=True)
class SeedMedian:
    """Kaplan-Meier medians over seeds of the steps to one share of the ceiling.

    Attributes:
        threshold: The share.
        undefended: Median; censored where fewer than half of the seeds get there, None where a seed is unknown.
        defended: The same for the defended weights.
        p_value: Two-sided log-rank test that both sides take equally long; None where it is undefined.
    """

    threshold: float
    undefended: Count | None
    defended: Count | None
    p_value: float | None


@dataclass(frozen=True)
class SeedSeries:
    """One attack over several seeds.

    Attributes:
        method: Name of the attack's variant.
        budget: Its steps.
        seeds: The seeds, ascending.
        trials: Label of each trial, by seed.
        mean: Mean recovery; NaN where one is undefined.
        worst: Largest recovery.
        worst_seed: The seed that reaches it; None where no recovery is defined.
        medians: By ascending threshold.
    """

    method: str
    budget: int
    seeds: list[int]
    trials: list[str]
    mean: float
    worst: float
    worst_seed: int | None
    medians: list[SeedMedian]


@dataclass(frozen=True)
class Trial:
    """One trial of the search for the strongest attack, and the best that it and those before it recover."""

    attack: str
    recovery: float
    best_so_far: float


def seed_series(attacks: Sequence[JudgedAttack]) -> list[SeedSeries]:
    """Return every attack that was run with two seeds or more."""
    series: dict[tuple[str, int, str], list[JudgedAttack]] = {}
    for attack in attacks:
        series.setdefault(attack.pair.series, []).append(attack)
    return [_summarise(members) for members in series.values() if len(members) > 1]


def search_curve(attacks: Sequence[JudgedAttack], order: Sequence[str]) -> list[Trial]:
    """Return the best recovery against the number of trials (cumulative maximum).

    Args:
        attacks: The attacks.
        order: Their labels, in the order in which they were tried.
    """
    peaks = {attack.label: attack.peak.value for attack in attacks}
    best = best_so_far([peaks[label] for label in order])
    return [Trial(label, peaks[label], value) for label, value in zip(order, best, strict=True)]


def _summarise(members: Sequence[JudgedAttack]) -> SeedSeries:
    members = sorted(members, key=lambda attack: attack.pair.defended.seed)
    peaks = [attack.peak.value for attack in members]
    defined = [attack for attack in members if not math.isnan(attack.peak.value)]
    worst = max(defined, key=lambda attack: attack.peak.value, default=None)
    return SeedSeries(
        method=members[0].method,
        budget=members[0].pair.defended.steps,
        seeds=[attack.pair.defended.seed for attack in members],
        trials=[attack.label for attack in members],
        mean=sum(peaks) / len(peaks),
        worst=math.nan if worst is None else worst.peak.value,
        worst_seed=None if worst is None else worst.pair.defended.seed,
        medians=[_median(members, index) for index in range(len(members[0].statistics.counts))],
    )


def _median(members: Sequence[JudgedAttack], index: int) -> SeedMedian:
    found = [attack.statistics.counts[index] for attack in members]
    sides = {subject: [count.counts[subject].value for count in found] for subject in SUBJECTS}
    known = {subject: [count for count in counts if count is not None] for subject, counts in sides.items()}
    whole = {subject: len(known[subject]) == len(members) for subject in SUBJECTS}
    medians = {subject: median_steps(known[subject]) if whole[subject] else None for subject in SUBJECTS}
    p_value = log_rank_p_value(known[DEFENDED], known[UNDEFENDED]) if all(whole.values()) else math.nan
    return SeedMedian(
        threshold=found[0].threshold,
        undefended=medians[UNDEFENDED],
        defended=medians[DEFENDED],
        p_value=None if math.isnan(p_value) else p_value,
    )
