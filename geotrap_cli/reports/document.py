"""A comparison as plain JSON values, whose form is stable: fields are added and keep their meaning."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from geotrap_cli.evaluation.cells import SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import Verdict
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.statistics import Recovered

VERSION = 1
"""Grows when a field changes its meaning or goes."""


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return everything as JSON values; what is undefined is None, and infinity is the string ``inf``."""
    scale, selection = comparison.scale, comparison.selection
    document: dict[str, Any] = plain(
        {
            "version": VERSION,
            **_verdict_fields(comparison.verdict),
            "worst_attack": comparison.worst.label,
            "recovery": comparison.worst.peak,
            "recover_threshold": comparison.threshold,
            "floor": scale.floor_db,
            "ceiling": {"value": scale.ceiling_db, "attack": scale.method, "step": scale.step},
            "groups": len(set(scale.groups)),
            "objects": len(scale.groups),
            "numbers": comparison.numbers,
            "not_tested": comparison.not_tested,
            "train_run": selection.train_run,
            "defense_cost": comparison.defense_cost,
            "attack_runs": [str(run) for run in selection.runs],
            "weights": selection.weights,
            "attacks": [_attack_fields(comparison, attack) for attack in comparison.attacks],
            "seeds": comparison.series,
            "search": comparison.search,
            "controls": comparison.controls,
            "tuning": comparison.tuning,
            "recovery_by_budget": comparison.budgets,
            "layer_changes": comparison.layers,
            "trap_audit": comparison.audit.payload(),
            "rows": comparison.records(),
        }
    )
    return document


def plain(value: Any) -> Any:
    """Return ``value`` as JSON values: NaN is None, an infinity its name, a censored count what is known of it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Censored):
        return {"more_than": value.at}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "state": str(verdict.state),
        "states": [str(state) for state in verdict.states],
        "reasons": [{"state": str(reason.state), "text": reason.text} for reason in verdict.reasons],
    }


def _attack_fields(comparison: Comparison, attack: JudgedAttack) -> dict[str, Any]:
    pair, numbers = attack.pair, attack.statistics
    return {
        "attack": attack.label,
        "method": pair.method,
        "family": pair.defended.key,
        "run": str(pair.run),
        "cells": {subject: pair.file(subject) for subject in (*SUBJECTS, *pair.controls)},
        **_verdict_fields(attack.verdict),
        "recovery": attack.peak,
        "recovery_step": attack.peak_step,
        "bounded_recovery": numbers.bounded,
        "recovery_by_step": {
            subject: dict(zip(pair.own_steps(subject), curve, strict=True))
            for subject, curve in numbers.recovery.items()
        },
        "steps": pair.defended.steps,
        "seed": pair.defended.seed,
        "evidence": attack.evidence,
        "steps_to_recover": [_count_fields(count) for count in numbers.counts],
        "area_under_recovery": numbers.areas,
        "resistance": numbers.resistance,
        "relative_gap": numbers.gaps,
        "benign_trainability": numbers.benign,
        "cost": comparison.costs[attack.label],
        **{subject: _subject_fields(attack, subject) for subject in SUBJECTS},
    }


def _count_fields(count: Recovered) -> dict[str, Any]:
    return {
        "threshold": count.threshold,
        **{subject: steps.value for subject, steps in count.counts.items()},
        **{_slow_down(reference): ratio.value for reference, ratio in count.slow_down.items()},
        "intervals": {"steps": count.counts, "slow_down": count.slow_down},
    }


def _slow_down(reference: str) -> str:
    return "slow_down" if reference == UNDEFENDED else f"slow_down_{reference}"


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
