"""Who works on a grid: which jobs are left, the executor that does them, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from geotrap_cli.bench.executors.base import Executor
from geotrap_cli.bench.executors.in_process import InProcess
from geotrap_cli.bench.executors.local import LocalProcesses
from geotrap_cli.bench.executors.ray_cluster import RayCluster
from geotrap_cli.bench.grid import RayTable
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.bench.progress import Reporter
from geotrap_cli.bench.request import BenchRequest
from geotrap_cli.bench.results import Results
from geotrap_cli.bench.schedule import Schedule
from geotrap_cli.bench.work import peaks_of, perform
from geotrap_cli.reports.wording import plural


def left_to_do(jobs: Sequence[Job], results: Results) -> list[Job]:
    """Return the attacks that are not wholly measured, and the defenses that they need and that are not trained."""
    attacks = [job for job in jobs if job.attack is not None and not results.is_done(job)]
    open_trainings = {job.name: job for job in jobs if job.attack is None and not results.is_trained(job)}
    names = {job.name for job in attacks}
    # A defense may need the weights of another, which need not be attacked.
    needed = {need for job in attacks for need in job.needs} & open_trainings.keys()
    while needed:
        names |= needed
        needed = {need for name in needed for need in open_trainings[name].needs} & open_trainings.keys() - names
    return [job for job in jobs if job.name in names]


@dataclass(frozen=True)
class Crew:
    """Does jobs and says how far it is.

    Attributes:
        request: The executor, and how many jobs at a time.
        ray: What one job takes of a Ray cluster.
        device: What the user named; ``auto`` lets processes share out the GPUs.
        say: Takes a line.
    """

    request: BenchRequest
    ray: RayTable
    device: str
    say: Callable[[str], None]

    def work(self, jobs: Sequence[Job], left: Sequence[Job], results: Results, what: str = "") -> dict[str, str]:
        """Do what is left and return why jobs failed, by name.

        A trial that diverges is no failure: it would diverge again, and has shown that its setting is none.

        Args:
            jobs: All jobs of this part of the grid.
            left: Those that are not done.
            results: What is measured.
            what: What the jobs are for; in front of each line.
        """
        if not left:
            return {}
        executor = self._executor()
        reporter = Reporter(len(jobs), len(jobs) - len(left), self.say, what)
        _take_in_done(jobs, left, results, reporter)
        diverged: set[tuple[tuple[str, str], int | None]] = set()

        def on_end(job: Job, outcome: Outcome) -> None:
            if outcome.diverged and job.trial is not None:
                diverged.add((job.entry, job.trial))
            reporter.ended(job, outcome, schedule.left, executor.slots)

        schedule = Schedule(left, on_end, reporter.lost)
        kind = self.request.executor
        self.say(f"{what}{plural(len(left), 'job')} to do, {kind}, {plural(executor.slots, 'job')} at a time")
        schedule.run(executor)
        trials = {job.name: (job.entry, job.trial) for job in jobs}
        return {name: why for name, why in schedule.failed.items() if trials[name] not in diverged}

    def _executor(self) -> Executor:
        if self.request.executor == "ray":
            return RayCluster(perform, self.ray)
        if self.request.executor == "local":
            return LocalProcesses(perform, self.request.slots, self._gpus())
        return InProcess(perform)

    def _gpus(self) -> int:
        """Return the number of GPUs to share out; none where the user named a device."""
        import torch

        return torch.cuda.device_count() if self.device == "auto" else 0


def _take_in_done(jobs: Sequence[Job], left: Sequence[Job], results: Results, reporter: Reporter) -> None:
    """Let the worst case so far begin with what was measured before."""
    names = {job.name for job in left}
    for job in jobs:
        if job.attack is not None and job.trial is None and job.name not in names:
            reporter.worst.add(job.entry, peaks_of(results.pairs(job)))
