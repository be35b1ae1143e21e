"""One job after the other, here."""

from __future__ import annotations

from geotrap_cli.bench.executors.base import Perform
from geotrap_cli.bench.job import Job, Outcome


class InProcess:
    """Does every job in this process."""

    slots = 1

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Take a job; it is done by the next :meth:`wait`."""
        self._jobs.append(job)

    def wait(self) -> list[Outcome]:
        """Do the job and return its outcome."""
        return [self._perform(self._jobs.pop(0))]

    def close(self) -> None:
        """Nothing is under way between two calls."""
