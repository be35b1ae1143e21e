"""The trap audit of a comparison: what the train run measured, and the geometry before and after every attack."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.audit import TrapAudit, read_audit
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, Cell
from geotrap_cli.evaluation.geometry import GeometryState, States
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.audit_tables import audit_tables, state_tables
from geotrap_cli.reports.geometry_plots import geometry_picture
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.layout import TextTable
from geotrap_cli.runs import open_run

_IN_TABLES, _IN_PICTURE = 3, 6
"""Attacks shown, those that recover most; the JSON has all."""


@dataclass(frozen=True)
class AttackGeometry:
    """The geometry of both sets of weights after one attack; None where it was not measured."""

    attack: str
    states: dict[str, GeometryState | None]


@dataclass(frozen=True)
class AuditReport:
    """What is known of the defense under a comparison.

    Attributes:
        train: What the train run measured; None where it did not, or cannot be read.
        before: Geometry of both sets of weights before any attack.
        attacks: Geometry after each attack, in the order of the comparison.
        missing: What was not measured and why, one line each.
    """

    train: TrapAudit | None
    before: dict[str, GeometryState | None]
    attacks: list[AttackGeometry]
    missing: list[str]

    def states(self, attacks: int) -> States:
        """Return the geometry before any attack and after the first ``attacks``, by what it is of."""
        after = {
            f"{found.attack}: {subject}": state
            for found in self.attacks[:attacks]
            for subject, state in found.states.items()
        }
        return {**self.before, **after}

    def tables(self) -> list[TextTable]:
        """Return the tables of the audit, with the attacks that recover most."""
        states = self.states(_IN_TABLES)
        if self.train is not None:
            return audit_tables(self.train, states)
        return state_tables(states) if any(states.values()) else []

    def draw(self, path: Path) -> bool:
        """Draw the geometry; returns False, and draws nothing, where none was measured."""
        states = self.states(_IN_PICTURE)
        if not any(states.values()):
            return False
        geometry_picture(states, path)
        return True

    def payload(self) -> dict[str, Any]:
        """Return everything but histograms: ``train``, ``before``, ``attacks`` and ``missing``."""
        return {
            "train": self.train and self.train.payload(),
            "before": _summaries(self.before),
            "attacks": [{"attack": found.attack, **_summaries(found.states)} for found in self.attacks],
            "missing": self.missing,
        }


def audit_report(selection: Selection, attacks: Sequence[JudgedAttack]) -> AuditReport:
    """Collect the audit of the train run and the geometry that the attacks' cells brought.

    What is not there, as in runs of an older version, is named in ``missing`` and is no error.
    """
    train, problem = _train_audit(selection)
    before = _before(attacks, train)
    after = [
        AttackGeometry(found.label, {name: _after(found.pair.cell(name)) for name in SUBJECTS}) for found in attacks
    ]
    missing = [problem] if problem else []
    unknown = [name for name in SUBJECTS if before[name] is None]
    missing += [f"geometry before attacks of the {' and the '.join(unknown)} weights"] if unknown else []
    missing += _missing_after(attacks, after)
    if _other_objects(before, after):
        missing.append("geometry of the same objects before and after: train run and attacks took different ones")
    return AuditReport(train, before, after, missing)


def _train_audit(selection: Selection) -> tuple[TrapAudit | None, str | None]:
    """Return the audit of the train run, or why there is none."""
    what = "depths, source drift and shortcut check"
    path = Path(selection.train_run)
    try:
        run = open_run(path)
        if run.manifest.get("defended") != selection.weights[DEFENDED]:
            return None, f"{what}: {path} now holds other weights than those attacked"
        return read_audit(path), None
    except UsageError as error:
        return None, f"{what}: {error.message}"


def _before(attacks: Sequence[JudgedAttack], train: TrapAudit | None) -> dict[str, GeometryState | None]:
    """Return what the attacks saw before their first step, on their own objects; else what the train run saw."""
    for found in attacks:
        states = {name: found.pair.cell(name).evaluations[0].geometry for name in SUBJECTS}
        if all(states.values()):
            return states
    return dict.fromkeys(SUBJECTS) if train is None else dict(train.states())


def _after(cell: Cell) -> GeometryState | None:
    last = cell.evaluations[-1]
    return last.geometry if last.step == cell.steps else None


def _missing_after(attacks: Sequence[JudgedAttack], after: Sequence[AttackGeometry]) -> Iterator[str]:
    """Say once for each reason which attacks left no geometry."""
    without: dict[str, list[str]] = {}
    for found, geometry in zip(attacks, after, strict=True):
        for name, state in geometry.states.items():
            if state is None:
                cell = found.pair.cell(name)
                why = "cut short" if cell.evaluations[-1].step < cell.steps else "measured by an older version"
                without.setdefault(why, []).append(f"{found.label} ({name})")
    yield from (f"geometry after {', '.join(names)}: {why}" for why, names in without.items())


def _other_objects(before: States, after: Sequence[AttackGeometry]) -> bool:
    states = itertools.chain(before.values(), *(found.states.values() for found in after))
    return len({tuple(sorted(state.objects)) for state in states if state is not None}) > 1


def _summaries(states: States) -> dict[str, Any]:
    return {name: state and state.summary() for name, state in states.items()}
