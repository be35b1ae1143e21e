"""How far the tuning of a grid is, from what is measured alone: what is chosen, and which trials come next."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from geotrap_cli.bench.choice import EntryTuning, is_measured, judge_trials
from geotrap_cli.bench.grid import LoadedGrid
from geotrap_cli.bench.job import Job
from geotrap_cli.bench.make_jobs import after_first
from geotrap_cli.bench.plan import BenchPlan, plan_bench
from geotrap_cli.bench.profiles import Entry
from geotrap_cli.bench.results import Results
from geotrap_cli.bench.trials import EntryTrials, as_overrides, plan_trials
from geotrap_cli.options import CommonOptions


@dataclass(frozen=True)
class TuningState:
    """A grid as far as it is tuned.

    Attributes:
        plan: Its jobs for the leaderboard, with what is chosen so far.
        decided: How each entry that is decided was tuned; empty where the grid has no trials.
        open: The trials that come next: of entries that wait for the choice of no other.
    """

    plan: BenchPlan
    decided: dict[Entry, EntryTuning]
    open: tuple[EntryTrials, ...] = ()

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the trials that come next."""
        return _joined(self.open)

    @property
    def undecided(self) -> list[Job]:
        """The jobs of all trials to come; what waits for a choice is planned with what is chosen so far."""
        if not self.plan.grid.grid.tune.trials:
            return []
        planned = {trials.entry: trials for trials in self.open}
        entries = [entry for entry in self.plan.profiles if entry not in self.decided]
        return _joined([planned.get(entry) or plan_trials(self.plan, entry) for entry in entries])


def tuning_state(
    loaded: LoadedGrid, options: CommonOptions, results: Results, worked: Collection[Entry] = ()
) -> TuningState:
    """Return how far the tuning is.

    Args:
        loaded: The grid.
        options: Device, and the folder of the grid's runs.
        results: What is measured.
        worked: Entries whose trials were worked on: what of them is not measured now could not be.

    Raises:
        UsageError: The grid, a profile or a trial is wrong.
    """
    decided: dict[Entry, EntryTuning] = {}
    while True:
        plan = plan_bench(loaded, options, {entry: as_overrides(one.setting) for entry, one in decided.items()})
        if not loaded.grid.tune.trials:
            return TuningState(plan, {})
        ready = tuple(plan_trials(plan, entry) for entry in plan.profiles if _is_ready(plan, entry, decided))
        ended = [one for one in ready if one.entry in worked or _is_measured(one, results)]
        if not ended:
            return TuningState(plan, decided, ready)
        bound = loaded.grid.tune.source_loss_bound
        decided |= {one.entry: judge_trials(one, results, bound) for one in ended}


def _joined(trials: Iterable[EntryTrials]) -> list[Job]:
    """Return all jobs, a training that several entries take weights of once."""
    first: dict[tuple[str, str], str] = {}
    jobs = {job.name: job for one in trials for job in one.jobs}
    return [job if job.attack is None else after_first(job, first) for job in jobs.values()]


def _is_ready(plan: BenchPlan, entry: Entry, decided: Collection[Entry]) -> bool:
    others = plan.grid.grid.defenses[entry[1]].weights_of.values()
    return entry not in decided and all((entry[0], other) in decided for other in others)


def _is_measured(trials: EntryTrials, results: Results) -> bool:
    return all(is_measured(trial, results) for trial in trials.trials)
