"""``geotrap bench --dry-run``: how many cells are left, and about how long and how large they will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.bench.job import Job
from geotrap_cli.bench.plan import BenchPlan
from geotrap_cli.evaluation.cells import SUBJECTS
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.wording import plural
from geotrap_cli.training.controls import control_subjects
from geotrap_cli.training.estimate import CAVEAT, FLOAT_BYTES, TRAINED_COPIES, duration, plan_attack, plan_defense

TUNED_CAVEAT = "what they choose is counted as the grid has it"
_OF_EACH_DEFENSE = ("defended", "distill", "noise", "benign_defended")
"""Subjects that are attacked anew for every defense; all others are measured once and shared."""


@dataclass(frozen=True)
class JobCost:
    """What a job takes.

    Attributes:
        cells: Attacks on one set of weights; 0 for a training.
        seconds: Estimated duration.
        disk: Bytes of the weights that it leaves.
    """

    cells: int
    seconds: float
    disk: int


@dataclass(frozen=True)
class BenchDryRun:
    """What would be done.

    Attributes:
        plan: The grid.
        jobs: All jobs that are known now, those of trials included.
        left: Those that are not done.
        costs: What each of them takes, by name.
        slots: Jobs at a time; None where a cluster will tell.
        output: Where runs and leaderboard would lie.
    """

    plan: BenchPlan
    jobs: Sequence[Job]
    left: Sequence[Job]
    costs: dict[str, JobCost]
    slots: int | None
    output: str

    @property
    def seconds(self) -> float:
        """Estimated duration, all slots at work; one job after the other where their number is not known."""
        return sum(cost.seconds for cost in self.costs.values()) / (self.slots or 1)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return sum(cost.cells for cost in self.costs.values())

    def payload(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return {
            "jobs": len(self.jobs),
            "jobs_left": len(self.left),
            "trials_left": len(self._trials(self.left)),
            "cells_left": self.cells,
            "estimated_hours": self.seconds / 3600,
            "estimated_disk_bytes": self._disk,
            "jobs_at_a_time": self.slots,
            "output": self.output,
            "defenses": [{"profile": entry[0], "defense": entry[1], **self._entry(entry)} for entry in self._entries],
            "left_out": list(self.plan.left_out),
            "caveat": CAVEAT,
        }

    def render(self, console: Console) -> None:
        """Print a line for each defense, then what it all takes."""
        console.print(self._table())
        done = len(self.jobs) - len(self.left)
        grid = self.plan.grid.grid
        trials = len(self._trials(self.left))
        lines = [
            f"cells        {self.cells} to measure, in {plural(len(self.left), 'job')}"
            + (f"; {plural(done, 'job')} done before" if done else ""),
            *([f"trials       {trials} of tuning, before all others; {TUNED_CAVEAT}"] if trials else []),
            f"seeds        {', '.join(map(str, grid.seeds))}",
            f"time         about {self.seconds / 3600:.2f} h, {self._at_a_time}",
            f"disk         about {self._disk / 1e9:.2f} GB of weights",
            f"output       {self.output}",
            *(f"left out     {line}" for line in self.plan.left_out),
            CAVEAT,
        ]
        for line in lines:
            console.print(Text(line), soft_wrap=True)

    @staticmethod
    def _trials(jobs: Sequence[Job]) -> set[tuple[tuple[str, str], int]]:
        return {(job.entry, job.trial) for job in jobs if job.trial is not None}

    @property
    def _at_a_time(self) -> str:
        if self.slots is None:
            return "one job after the other; how many at a time, the cluster decides"
        return f"{plural(self.slots, 'job')} at a time"

    @property
    def _disk(self) -> int:
        return sum(cost.disk for cost in self.costs.values())

    @property
    def _entries(self) -> list[tuple[str, str]]:
        return list(self.plan.profiles)

    def _entry(self, entry: tuple[str, str]) -> dict[str, Any]:
        jobs = [job for job in self.left if job.entry == entry]
        return {
            "trials_left": len(self._trials(jobs)),
            "trainings_left": sum(job.attack is None for job in jobs),
            "attacks_left": sum(job.attack is not None for job in jobs),
            "cells_left": sum(self.costs[job.name].cells for job in jobs),
            "estimated_seconds": sum(self.costs[job.name].seconds for job in jobs),
        }

    def _table(self) -> TextTable:
        rows = []
        names = [*(["trials"] if self.plan.grid.grid.tune.trials else []), "trainings", "attacks", "cells"]
        for entry in self._entries:
            found = self._entry(entry)
            told = [str(found[f"{name}_left"]) for name in names]
            rows.append([*entry, *told, duration(found["estimated_seconds"]) if any(map(int, told)) else "done"])
        columns: dict[str, Justify] = {"profile": "left", "defense": "left"}
        columns |= dict.fromkeys((*names, "time"), "right")
        return TextTable(f"Grid {self.plan.grid.name}", columns, rows)


def estimate_jobs(left: Sequence[Job]) -> dict[str, JobCost]:
    """Return what each of ``left`` takes; jobs that differ by seed or setting alone take the same."""
    known: dict[tuple[str, str], JobCost] = {}
    shared: set[tuple[str, str, int]] = set()
    costs = {}
    for job in left:
        key = job.kind
        if key not in known:
            known[key] = _training(job) if job.attack is None else _one_cell(job)
        costs[job.name] = known[key] if job.attack is None else _attack(job, known[key], shared)
    return costs


def _training(job: Job) -> JobCost:
    found = plan_defense(job.options, job.loaded)
    # The released weights, and a checkpoint with those of training and the two moments of AdamW.
    disk = FLOAT_BYTES * (found.parameters + TRAINED_COPIES * sum(phase.trained for phase in found.phases))
    return JobCost(0, sum(found.seconds(phase) for phase in found.phases), disk)


def _one_cell(job: Job) -> JobCost:
    """Return the cost of all variants of an attack, and of tuning it, on one set of weights."""
    found = plan_attack(job.options, job.loaded)
    subjects = len(SUBJECTS) + len(control_subjects(job.loaded.profile.attack.controls))
    seconds = sum(found.seconds(phase) for phase in found.phases) / subjects
    return JobCost(len(found.phases), seconds, FLOAT_BYTES * sum(phase.trained for phase in found.phases))


def _attack(job: Job, one: JobCost, shared: set[tuple[str, str, int]]) -> JobCost:
    subjects = [*SUBJECTS, *control_subjects(job.loaded.profile.attack.controls)]
    place = (*job.kind, job.seed)
    count = sum(name in _OF_EACH_DEFENSE or place not in shared for name in subjects)
    shared.add(place)
    return JobCost(count * one.cells, count * one.seconds, count * one.disk)
