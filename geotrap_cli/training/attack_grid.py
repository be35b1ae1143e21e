"""The cells of an attack run: each taken from where it was measured already, continued, or measured now."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from geotrap_cli.evaluation.cells import SUBJECTS, UNDEFENDED, Cell, has_cell, read_cell, write_cell
from geotrap_cli.evaluation.clouds import Points
from geotrap_cli.evaluation.evaluate import EvaluationSettings, reference_clouds
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.attack_plan import PlannedAttack
from geotrap_cli.training.attack_subjects import Subjects
from geotrap_cli.training.cell_checkpoint import CHECKPOINTS, CellCheckpoint
from geotrap_cli.training.cell_store import CellStore
from geotrap_cli.training.workbench import Workbench

CELLS = "cells"


class Site:
    """Objects to attack with and to measure on.

    Args:
        bench: The attacker's objects are its ``attack_target``, the measured ones its ``eval_target``.
        subjects: Where the undefended weights come from.
    """

    def __init__(self, bench: Workbench, subjects: Subjects) -> None:
        self.bench, self._subjects = bench, subjects

    @functools.cached_property
    def references(self) -> Mapping[str, Points]:
        """What the undefended weights make of every object that is measured."""
        bench = self.bench
        ids = [*bench.draw(bench.splits.eval_target), *bench.draw(bench.splits.source_eval)]
        settings = EvaluationSettings.from_profile(
            bench.profile, bench.input_size, bench.output_size, bench.input_views
        )
        return reference_clouds(self._subjects.open(UNDEFENDED), bench.dataset, ids, settings, device=bench.device)


@dataclass
class AttackGrid:
    """Measures cells into an attack run.

    Attributes:
        store: Cells that were measured already, and the run.
        subjects: The weights.
        site: The objects of the run.
        console: Where progress is shown.
        quiet: Whether it is not.
    """

    store: CellStore
    subjects: Subjects
    site: Site
    console: Console
    quiet: bool
    _sized: dict[int, AttackGrid] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.store.run.path

    def say(self, text: str) -> None:
        """Tell the user, unless nothing is to be told."""
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)

    def pair(self, planned: PlannedAttack) -> list[Cell]:
        """Return the cells of an attack on the undefended and on the defended weights."""
        return [self.cell(planned, subject) for subject in SUBJECTS]

    def cell(self, planned: PlannedAttack, subject: str, site: Site | None = None, part: str = "") -> Cell:
        """Return one cell: the run's own, one of the store, or a new one.

        Args:
            planned: The attack.
            subject: The weights.
            site: Objects in place of those of the run; they have to follow from those and the subject.
            part: Folder below the run in place of ``cells``.
        """
        if planned.steps is not None and planned.steps != self.site.bench.profile.attack.steps:
            return self.with_steps(planned.steps).cell(planned, subject, site, part)
        folder, processes = self.folder / (part or CELLS), self.site.bench.processes
        if processes.count > 1:
            # Distilled weights are trained when they are first asked for: by all processes, not by the one that looks.
            self.subjects.digest(subject)
        # One process looks, as a cell that another run adds in between would send the others elsewhere.
        if processes.decided(processes.main and self._is_there(planned, subject, folder)):
            return read_cell(folder / f"{planned.method}-{subject}.json")
        cell = self._measure(planned, subject, site or self.site, folder)
        if processes.main:
            # Written last: a cell that exists is complete.
            write_cell(folder, cell)
        return cell

    def _is_there(self, planned: PlannedAttack, subject: str, folder: Path) -> bool:
        """Whether a cell is in ``folder``, where one of the store is put if it has it."""
        if has_cell(folder, planned.method, subject):
            return True
        cell = self.store.take(planned, subject)
        if cell is not None:
            self.say(f"{planned.method} on {subject} weights: taken from {self.store.reused[_name(planned, subject)]}")
            write_cell(folder, cell)
        return cell is not None

    def with_bench(self, bench: Workbench) -> AttackGrid:
        """Return the grid of the same run over other objects or settings, which its cells are told apart by."""
        return replace(self, store=replace(self.store, bench=bench), site=Site(bench, self.subjects), _sized={})

    def with_steps(self, steps: int) -> AttackGrid:
        """Return the grid of the same run with another budget."""
        if steps not in self._sized:
            self._sized[steps] = self.with_bench(with_attack(self.site.bench, steps=steps))
        return self._sized[steps]

    def _measure(self, planned: PlannedAttack, subject: str, site: Site, folder: Path) -> Cell:
        store, name = self.store, _name(planned, subject)
        parts = folder.relative_to(self.folder).parts
        place = self.folder / CHECKPOINTS / "-".join([*parts[1:], name])
        bench = with_attack(site.bench, steps=self.site.bench.profile.attack.steps)
        every = bench.profile.attack.checkpoint_every
        checkpoint = CellCheckpoint(place, store.key(planned, subject), every)
        with bench.processes.main_first():
            if store.reuse and bench.processes.main:
                checkpoint.adopt(self.folder.parent)
        runner = CellRunner(
            bench,
            planned.method,
            planned.family,
            subject,
            planned.attack,
            self.subjects.open(subject),
            store.scorer,
            site.references,
            store.run.log if folder.name == CELLS else _no_log,
            checkpoint,
        )
        cell = runner.run(self.console, self.quiet)
        if not bench.processes.main:
            return cell
        if folder.name == CELLS:
            runner.save(self.folder)
        cell = store.keep(planned, cell)
        checkpoint.remove()
        return cell


def with_attack(bench: Workbench, **fields: object) -> Workbench:
    """Return ``bench`` with other values in the profile's ``[attack]`` table."""
    attack = bench.profile.attack.model_copy(update=fields)
    return replace(bench, profile=bench.profile.model_copy(update={"attack": attack}))


def _no_log(_: dict[str, Any]) -> None:
    """Trials go by one name: their steps would overwrite each other in the metrics."""


def _name(planned: PlannedAttack, subject: str) -> str:
    return f"{planned.method}-{subject}"
