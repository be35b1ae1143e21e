"""Everything a comparison found, as one value: the judged attacks, the table of all metrics, and both as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from geotrap_cli.evaluation.bootstrap import Interval, paired_comparison
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE
from geotrap_cli.evaluation.recovery import Censored, resistance
from geotrap_cli.evaluation.validity import Verdict
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.judgement import JudgedAttack, judge_attacks, worst_case
from geotrap_cli.reports.pairing import SPLITS, AttackPair, Split, metric_values
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.scale import Resampling, Scale
from geotrap_cli.reports.tables import ComparisonRow, Record

METRICS = (HEADLINE, "psnr", "ssim")
"""The metrics that come first, the one that verdicts are about before all others."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        selection: The runs it was made from.
        scale: Floor and ceiling.
        attacks: Every attack, the one that recovers most first.
        rows: Every metric of every attack at every checkpoint.
        not_tested: What the verdict does not cover.
    """

    selection: Selection
    scale: Scale
    attacks: list[JudgedAttack]
    rows: list[ComparisonRow]
    not_tested: list[str]

    @property
    def worst(self) -> JudgedAttack:
        """The attack that recovers most: what the defense is worth."""
        return self.attacks[0]

    @property
    def verdict(self) -> Verdict:
        """The verdict on the worst attack."""
        return self.worst.verdict

    @property
    def threshold(self) -> float:
        """The recovery from which on an attack has won."""
        return self.selection.profile.eval.recover_threshold

    def metric_rows(self, method: str, metric: str, split: Split) -> list[ComparisonRow]:
        """Return one metric of one attack on one split, by step."""
        return [row for row in self.rows if (row.attack, row.metric, row.split) == (method, metric, split)]

    def records(self) -> list[Record]:
        """Return the table as flat fields, with the recovery of both sides where the metric defines one."""
        recovery = {attack.method: _recovery_by_step(attack) for attack in self.attacks}
        return [_record(row, recovery[row.attack]) for row in self.rows]

    def payload(self) -> dict[str, Any]:
        """Return everything as JSON values; what is undefined is None, and infinity is the string ``inf``."""
        return plain(
            {
                **_verdict_fields(self.verdict),
                "worst_attack": self.worst.method,
                "recovery": self.worst.peak,
                "recover_threshold": self.threshold,
                "floor": self.scale.floor_db,
                "ceiling": {"value": self.scale.ceiling_db, "attack": self.scale.method, "step": self.scale.step},
                "groups": len(set(self.scale.groups)),
                "objects": len(self.scale.groups),
                "not_tested": self.not_tested,
                "train_run": self.selection.train_run,
                "attack_runs": [str(run) for run in self.selection.runs],
                "weights": self.selection.weights,
                "attacks": [_attack_fields(attack) for attack in self.attacks],
                "rows": self.records(),
            }
        )


def compare_attacks(selection: Selection, resampling: Resampling) -> Comparison:
    """Judge the selected attacks and compare every metric at every checkpoint."""
    scale, judged = judge_attacks(selection.pairs, selection.profile.eval, resampling)
    worst = worst_case(judged)
    # Stable, so that attacks without a recovery keep their order behind the worst.
    attacks = [worst, *(attack for attack in judged if attack is not worst)]
    rows = [row for attack in attacks for row in _rows(attack.pair, resampling)]
    return Comparison(selection, scale, attacks, rows, list(_not_tested(worst.verdict, selection)))


def plain(value: Any) -> Any:
    """Return ``value`` as JSON values: NaN is None, an infinity its name, a censored count what is known of it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Censored):
        return {"more_than": value.at}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _rows(pair: AttackPair, resampling: Resampling) -> Iterator[ComparisonRow]:
    for split in SPLITS:
        for step in pair.steps:
            undefended, defended = (pair.scores(subject, split, step) for subject in SUBJECTS)
            if undefended is None or defended is None:
                continue
            groups = [score.group for score in undefended]
            for metric in _ordered(undefended[0].metrics):
                sides = metric_values(undefended, metric), metric_values(defended, metric)
                values = paired_comparison(*sides, groups, **dataclasses.asdict(resampling))
                yield ComparisonRow(pair.method, split, metric, step, values)


def _ordered(metrics: dict[str, float]) -> list[str]:
    names = [name for name in metrics if name != FLOOR]
    return sorted(names, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS))


def _not_tested(verdict: Verdict, selection: Selection) -> Iterator[str]:
    from geotrap_cli.plugins import plugin_keys

    run = {pair.method for pair in selection.pairs}
    missing = [key for key in plugin_keys("geotrap.attacks") if key not in run]
    if missing:
        yield f"the attacks {', '.join(missing)}" if len(missing) > 1 else f"the attack {missing[0]}"
    yield from verdict.not_tested
    seeds = sorted({pair.defended.seed for pair in selection.pairs})
    yield f"seeds other than {', '.join(map(str, seeds))}"
    yield f"budgets beyond {max(pair.defended.steps for pair in selection.pairs)} steps"


def _recovery_by_step(attack: JudgedAttack) -> dict[int, dict[str, Interval]]:
    curves = (attack.recovery[UNDEFENDED], attack.recovery[DEFENDED])
    return {
        step: dict(zip(SUBJECTS, points, strict=True))
        for step, *points in zip(attack.pair.steps, *curves, strict=False)
    }


def _record(row: ComparisonRow, recovery: dict[int, dict[str, Interval]]) -> Record:
    points = recovery[row.step] if (row.metric, row.split) == (HEADLINE, "target") else {}
    return row.record() | {
        f"recovery_{subject}": points[subject].value if subject in points else None for subject in SUBJECTS
    }


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "state": str(verdict.state),
        "states": [str(state) for state in verdict.states],
        "reasons": [{"state": str(reason.state), "text": reason.text} for reason in verdict.reasons],
    }


def _attack_fields(attack: JudgedAttack) -> dict[str, Any]:
    pair = attack.pair
    areas = {subject: attack.area(subject) for subject in SUBJECTS}
    return {
        "attack": attack.method,
        "run": str(pair.run),
        **_verdict_fields(attack.verdict),
        "recovery": attack.peak,
        "recovery_step": attack.peak_step,
        "steps": pair.defended.steps,
        "seed": pair.defended.seed,
        "evidence": attack.evidence,
        "steps_to_recover": [{**vars(count), "slow_down": count.slow_down} for count in attack.counts],
        "area_under_recovery": areas,
        "resistance": resistance(areas[DEFENDED], areas[UNDEFENDED]),
        **{subject: _subject_fields(attack, subject) for subject in SUBJECTS},
    }


def _subject_fields(attack: JudgedAttack, subject: str) -> dict[str, Any]:
    cell = attack.pair.cell(subject)
    return {
        "best": best_quality(attack.pair, subject),
        "health": cell.health,
        "first_loss": cell.first_loss,
        "last_loss": cell.last_loss,
        "seconds": cell.seconds,
        "trainable_parameters": cell.trainable_parameters,
    }
