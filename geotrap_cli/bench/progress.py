"""What a grid says while it runs: how far it is, the worst case of each defense so far, and the time left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from geotrap_cli.bench.job import Job, Outcome, Peak
from geotrap_cli.evaluation.recovery import recovery_ratio
from geotrap_cli.reports.quality import nan_last
from geotrap_cli.training.estimate import duration

Entry = tuple[str, str]


@dataclass
class WorstSoFar:
    """The strongest attack on every defense among those that have ended; a bound from below of the worst case."""

    floor: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    best: dict[Entry, tuple[float, str]] = field(default_factory=dict)

    def add(self, entry: Entry, peaks: Iterable[Peak]) -> None:
        """Take in what an attack measured. One that has no quality that is a number shows nothing."""
        for peak in peaks:
            self.floor.setdefault(entry[0], peak.floor)
            known = self.ceiling.get(entry[0], math.nan)
            self.ceiling[entry[0]] = max(known, peak.undefended, key=nan_last)
            best = self.best.get(entry, (math.nan, ""))
            self.best[entry] = max(best, (peak.defended, peak.method), key=lambda found: nan_last(found[0]))

    def text(self, entry: Entry) -> str:
        """Return it as words, on the scale of the best undefended result so far."""
        best, method = self.best.get(entry, (math.nan, ""))
        if math.isnan(best):
            return "nothing measured yet"
        share = recovery_ratio([best], self.floor[entry[0]], self.ceiling[entry[0]])[0]
        return f"at least {share:.0%} recovered, by {method}" if math.isfinite(share) else "no recovery is defined"


@dataclass
class TimeLeft:
    """How long the jobs that are left will take, by how long others of their kind took."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, job: Job, seconds: float) -> None:
        """Take in how long a job took."""
        self.seconds.setdefault(job.kind, []).append(seconds)

    def estimate(self, left: Sequence[Job], slots: int) -> float | None:
        """Return seconds; None as long as nothing has ended. A kind that was not seen counts as the mean of those."""
        means = {kind: sum(found) / len(found) for kind, found in self.seconds.items()}
        if not means:
            return None
        usual = sum(means.values()) / len(means)
        total = sum(means.get(job.kind, usual) for job in left)
        return total / max(1, min(slots, len(left)))


class Reporter:
    """Says a line for every job that ends.

    Args:
        total: Number of jobs, those done before included.
        done: Number of those.
        say: Takes a line.
        what: What the jobs are for; in front of each line.
    """

    def __init__(self, total: int, done: int, say: Callable[[str], None], what: str = "") -> None:
        self.worst, self.time = WorstSoFar(), TimeLeft()
        self._total, self._done, self._say, self._what = total, done, say, what

    def ended(self, job: Job, outcome: Outcome, left: Sequence[Job], slots: int) -> None:
        """Say that a job ended, and how."""
        self._done += 1
        if outcome.error is None:
            self.time.add(job, outcome.seconds)
            if job.trial is None:
                self.worst.add(job.entry, outcome.peaks)
        how = f"failed: {outcome.error}" if outcome.error is not None else f"took {duration(outcome.seconds)}"
        rest = self.time.estimate(left, slots) if left else None
        later = f"; about {duration(rest)} left" if rest is not None else ""
        self._say(f"{self._what}[{self._done}/{self._total}] {job.name} {how}{self._seen(job, outcome)}{later}")

    def _seen(self, job: Job, outcome: Outcome) -> str:
        if job.attack is None:
            return ""
        if job.trial is None:
            return f"; {job.entry[1]}: {self.worst.text(job.entry)}"
        # Measured on other objects than what the leaderboard shows.
        best = max((peak.defended for peak in outcome.peaks), key=nan_last, default=math.nan)
        return "" if math.isnan(best) else f"; {best:.2f} dB on validation objects"

    def lost(self, job: Job, outcome: Outcome) -> None:
        """Say that a job is begun again."""
        self._say(f"{job.name} is begun again: {outcome.error}")
