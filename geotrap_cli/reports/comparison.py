"""Everything a comparison found, as one value: judged attacks, the table of all metrics, and the numbers by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geotrap_cli.evaluation.bootstrap import Interval, Resampling, paired_comparison
from geotrap_cli.evaluation.cells import DISTILL, NOISE, SUBJECTS
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import Verdict
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.audit import AuditReport, audit_report
from geotrap_cli.reports.budgets import BudgetMap, budget_map
from geotrap_cli.reports.costs import AttackCost, DefenseCost, attack_cost, defense_cost
from geotrap_cli.reports.judgement import JudgedAttack, judge_attacks, suite_verdict
from geotrap_cli.reports.layer_changes import LayerChanges, layer_changes
from geotrap_cli.reports.pairing import SPLITS, Split, metric_values
from geotrap_cli.reports.quality import nan_last
from geotrap_cli.reports.quantities import Quantity, quantities
from geotrap_cli.reports.references import MEANING, ReferenceResult, reference_results
from geotrap_cli.reports.scale import Scale
from geotrap_cli.reports.seeds import SeedSeries, Trial, search_curve, seed_series
from geotrap_cli.reports.tables import ComparisonRow, Record
from geotrap_cli.reports.tuning_curves import TuningCurve, read_tuning

METRICS = (HEADLINE, "psnr", "ssim")
"""The metrics that come first, the one that verdicts are about before all others."""


@dataclass(frozen=True)
class Judgement:
    """What a comparison comes down to.

    Attributes:
        selection: The cells it was made from.
        scale: Floor and ceiling.
        attacks: Every trial of every attack, the one that recovers most first.
        verdict: Whether the worst case may be believed.
    """

    selection: Selection
    scale: Scale
    attacks: list[JudgedAttack]
    verdict: Verdict

    @property
    def worst(self) -> JudgedAttack:
        """The attack that recovers most: what the defense is worth."""
        return self.attacks[0]

    @property
    def threshold(self) -> float:
        """The recovery from which on an attack has won."""
        return self.selection.profile.eval.recover_threshold


@dataclass(frozen=True)
class Comparison(Judgement):
    """A finished comparison.

    Attributes:
        rows: Every metric of every attack at every checkpoint.
        numbers: What it all comes down to, by name.
        series: Attacks that were run with several seeds.
        search: The best recovery against the number of trials.
        controls: The worst case on the defended weights and on those that they are compared with.
        costs: What each side of each attack cost, by the attack's label and the subject.
        defense_cost: What the defense cost.
        audit: What the defense did to the generator, and the attacks to its geometry.
        tuning: The searches for the best setting of an attack.
        layers: How far the defense and the worst attack moved each unit of the generator.
        not_tested: What the verdict does not cover.
    """

    rows: list[ComparisonRow]
    numbers: dict[str, Quantity]
    series: list[SeedSeries]
    search: list[Trial]
    controls: list[ReferenceResult]
    tuning: list[TuningCurve]
    costs: dict[str, dict[str, AttackCost]]
    defense_cost: DefenseCost
    audit: AuditReport
    layers: LayerChanges
    not_tested: list[str]

    @property
    def budgets(self) -> BudgetMap:
        """What each attack recovers within each budget."""
        return budget_map(self.attacks)

    def metric_rows(self, label: str, metric: str, split: Split) -> list[ComparisonRow]:
        """Return one metric of one attack on one split, by step."""
        return [row for row in self.rows if (row.attack, row.metric, row.split) == (label, metric, split)]

    def records(self) -> list[Record]:
        """Return the table as flat fields, with the recovery of both sides where the metric defines one."""
        recovery = {attack.label: _recovery_by_step(attack) for attack in self.attacks}
        return [_record(row, recovery[row.attack]) for row in self.rows]

    def number_records(self) -> list[Record]:
        """Return `numbers` as flat fields; a censored value has its bound, and says so in ``more_than``."""
        return [number_record(number) for number in self.numbers.values()]


def judge_selection(selection: Selection, resampling: Resampling, scale: Scale | None = None) -> Judgement:
    """Judge the selected attacks by the one metric that verdicts are about, on ``scale`` or on one of their own."""
    limits = selection.profile.eval
    scale, judged = judge_attacks(selection.pairs, limits, resampling, scale)
    # Stable, so that attacks without a recovery keep their order behind the others.
    attacks = sorted(judged, key=lambda attack: -nan_last(attack.peak.value))
    return Judgement(selection, scale, attacks, suite_verdict(judged, limits))


def compare_attacks(selection: Selection, resampling: Resampling) -> Comparison:
    """Judge the selected attacks and compare every metric at every checkpoint."""
    limits = selection.profile.eval
    judgement = judge_selection(selection, resampling)
    scale, attacks, verdict = judgement.scale, judgement.attacks, judgement.verdict
    by_pair = {id(attack.pair): attack.label for attack in attacks}
    rows = [row for attack in attacks for row in _rows(attack, resampling)]
    paid = defense_cost(selection.train_run)
    return Comparison(
        selection=selection,
        scale=scale,
        attacks=attacks,
        verdict=verdict,
        rows=rows,
        numbers=quantities(attacks, rows, scale, paid),
        series=seed_series(attacks),
        search=search_curve(attacks, [by_pair[id(pair)] for pair in selection.in_order_of_trial]),
        controls=reference_results(attacks),
        tuning=read_tuning(selection.runs),
        costs={attack.label: _costs(attack, limits.recover_threshold) for attack in attacks},
        defense_cost=paid,
        audit=audit_report(selection, attacks),
        layers=layer_changes(selection, attacks[0].pair, attacks[0].label),
        not_tested=list(not_tested(verdict, selection)),
    )


def _costs(attack: JudgedAttack, threshold: float) -> dict[str, AttackCost]:
    counts = next(count.counts for count in attack.statistics.counts if count.threshold == threshold)
    return {subject: attack_cost(attack.pair.cell(subject), found.value) for subject, found in counts.items()}


def _rows(attack: JudgedAttack, resampling: Resampling) -> Iterator[ComparisonRow]:
    pair = attack.pair
    for split in SPLITS:
        for step in pair.steps:
            undefended, defended = (pair.scores(subject, split, step) for subject in SUBJECTS)
            if undefended is None or defended is None:
                continue
            groups = [score.group for score in undefended]
            for metric in _ordered(undefended[0].metrics):
                before, after = metric_values(undefended, metric), metric_values(defended, metric)
                values = paired_comparison(before, after, groups, **resampling.options)
                yield ComparisonRow(attack.label, split, metric, step, values)


def _ordered(metrics: dict[str, float]) -> list[str]:
    names = [name for name in metrics if name != FLOOR]
    return sorted(names, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))


def not_tested(verdict: Verdict, selection: Selection) -> Iterator[str]:
    """Yield what a verdict does not cover, one clause each."""
    from geotrap_cli.plugins import plugin_keys

    run = {pair.defended.key for pair in selection.pairs}
    missing = [key for key in plugin_keys("geotrap.attacks") if key not in run]
    if missing:
        yield f"the attacks {', '.join(missing)}" if len(missing) > 1 else f"the attack {missing[0]}"
    yield from verdict.not_tested
    if not any(pair.benign for pair in selection.pairs):
        yield "fine-tuning on benign objects (control)"
    for control in (DISTILL, NOISE):
        if not any(control in pair.controls for pair in selection.pairs):
            yield f"{MEANING[control]} (control)"
    seeds = sorted({pair.defended.seed for pair in selection.pairs})
    yield f"seeds other than {', '.join(map(str, seeds))}"
    yield f"budgets beyond {max(pair.defended.steps for pair in selection.pairs)} steps"


def _recovery_by_step(attack: JudgedAttack) -> dict[int, dict[str, Interval]]:
    curves = (attack.statistics.recovery[subject] for subject in SUBJECTS)
    return {
        step: dict(zip(SUBJECTS, points, strict=True))
        for step, *points in zip(attack.pair.steps, *curves, strict=False)
    }


def _record(row: ComparisonRow, recovery: dict[int, dict[str, Interval]]) -> Record:
    points = recovery[row.step] if (row.metric, row.split) == (HEADLINE, "target") else {}
    return row.record() | {
        f"recovery_{subject}": points[subject].value if subject in points else None for subject in SUBJECTS
    }


def number_record(number: Quantity) -> Record:
    """Return one number as flat fields."""
    fields = {name: getattr(number, name) for name in ("value", "low", "high")}
    bounds = {name: value.at if isinstance(value, Censored) else value for name, value in fields.items()}
    return {
        "name": number.name,
        "unit": number.unit,
        **bounds,
        "more_than": isinstance(number.value, Censored),
        "missing": number.missing,
        "cells": " ".join(number.cells),
    }
