"""The order of the work: every job once what it waits for has ended; one whose worker is lost is tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from geotrap_cli.bench.executors.base import Executor
from geotrap_cli.bench.job import Job, Outcome

RETRIES = 2
"""How often a job is begun again after its worker was lost: one that takes its worker along each time must end."""


class Schedule:
    """Jobs and how far they are.

    Args:
        jobs: What is to be done; what they wait for and is not among them counts as done.
        on_end: Told of every job that ends, however; of a lost one only when it is given up.
        on_lost: Told of every job that is begun again, with why.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        on_end: Callable[[Job, Outcome], None],
        on_lost: Callable[[Job, Outcome], None] = lambda *_: None,
    ) -> None:
        self.waiting = {job.name: job for job in jobs}
        self.running: dict[str, Job] = {}
        self.failed: dict[str, str] = {}
        self._lost: dict[str, int] = {}
        self._on_end, self._on_lost = on_end, on_lost

    def run(self, executor: Executor) -> None:
        """Do all jobs; an interrupt ends what is under way and goes on to the caller."""
        try:
            while self.waiting or self.running:
                self._begin(executor)
                for outcome in executor.wait() if self.running else ():
                    self._end(outcome)
        finally:
            executor.close()

    @property
    def left(self) -> list[Job]:
        """What has not ended."""
        return [*self.running.values(), *self.waiting.values()]

    def _begin(self, executor: Executor) -> None:
        for name, job in list(self.waiting.items()):
            missing = [need for need in job.needs if need in self.failed]
            if missing:
                del self.waiting[name]
                self._fail(job, Outcome(name, error=f"it waits for what failed: {missing[0]}"))
            elif len(self.running) < executor.slots and self._is_ready(job):
                self.running[name] = self.waiting.pop(name)
                executor.submit(job)

    def _is_ready(self, job: Job) -> bool:
        return not any(other in self.waiting or other in self.running for other in (*job.needs, *job.after))

    def _end(self, outcome: Outcome) -> None:
        job = self.running.pop(outcome.job)
        if outcome.lost and self._lost.get(job.name, 0) < RETRIES:
            self._lost[job.name] = self._lost.get(job.name, 0) + 1
            self.waiting[job.name] = job
            self._on_lost(job, outcome)
        elif outcome.error is not None:
            self._fail(job, outcome)
        else:
            self._on_end(job, outcome)

    def _fail(self, job: Job, outcome: Outcome) -> None:
        self.failed[job.name] = outcome.error or ""
        self._on_end(job, outcome)
