"""What the schedule needs of whoever does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from geotrap_cli.bench.job import Job, Outcome

Perform = Callable[[Job], Outcome]
"""Does one job; a function of a module, so that other processes can import it."""


class Executor(Protocol):
    """Does jobs, at most ``slots`` at a time. Nothing but outcomes comes back: results are on disk by then."""

    @property
    def slots(self) -> int:
        """How many jobs may be under way; on a cluster this changes as nodes come and go."""

    def submit(self, job: Job) -> None:
        """Begin a job, or take it to be begun by :meth:`wait`."""

    def wait(self) -> list[Outcome]:
        """Return the outcomes of one job or more, once there are any. Called only while a job is under way."""

    def close(self) -> None:
        """End what is under way."""
