"""How far the tuning of a grid is, from what is measured alone: what is chosen, and which trials come next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
from geotrap_cli.plugins import scanned_once


@dataclass(frozen=True)
class TuningState:
    """A grid as far as it is tuned.

    Attributes:
        plan: Its jobs for the leaderboard, with what is chosen so far.
        decided: How each entry that is decided was tuned; empty where the grid has no trials.
        open: The trials that come next: of entries that wait for the choice of no other.
        later: The trials of all other entries, planned with what is chosen so far.
    """

    plan: BenchPlan
    decided: dict[Entry, EntryTuning]
    open: tuple[EntryTrials, ...] = ()
    later: tuple[EntryTrials, ...] = ()

    @property
    def jobs(self) -> list[Job]:
        """The jobs of the trials that come next."""
        return joined(self.open)

    @property
    def undecided(self) -> list[Job]:
        """The jobs of all trials to come."""
        return joined((*self.open, *self.later))


class Tuning:
    """The tuning of a grid, which has no state beside the results.

    Args:
        loaded: The grid.
        options: Device, and the folder of the grid's runs.
    """

    def __init__(self, loaded: LoadedGrid, options: CommonOptions) -> None:
        self._loaded, self._options = loaded, options
        self._plans: dict[tuple[tuple[Entry, tuple[str, ...]], ...], BenchPlan] = {}
        self._planned: dict[tuple[Entry, tuple[str, ...]], EntryTrials] = {}

    def state(self, results: Results, worked: Collection[Entry] = ()) -> TuningState:
        """Return how far the tuning is.

        Args:
            results: What is measured.
            worked: Entries whose trials were worked on: what of them is not measured now could not be.

        Raises:
            UsageError: The grid, a profile or a trial is wrong.
        """
        with scanned_once():
            return self._state(results, worked)

    def _state(self, results: Results, worked: Collection[Entry]) -> TuningState:
        tune, decided = self._loaded.grid.tune, dict[Entry, EntryTuning]()
        while True:
            plan = self._plan(decided)
            if not tune.trials:
                return TuningState(plan, {})
            open_entries = [entry for entry in plan.profiles if entry not in decided]
            ready = [entry for entry in open_entries if all(other in decided for other in _others(plan, entry))]
            trials = [self._trials(plan, entry) for entry in ready]
            ended = [one for one in trials if one.entry in worked or _is_measured(one, results)]
            if not ended:
                later = [self._trials(plan, entry) for entry in open_entries if entry not in ready]
                return TuningState(plan, decided, tuple(trials), tuple(later))
            decided |= {one.entry: judge_trials(one, results, tune.source_loss_bound) for one in ended}

    def _plan(self, decided: Mapping[Entry, EntryTuning]) -> BenchPlan:
        """Return the grid with what is chosen, which is checked once."""
        chosen = {entry: lines for entry, one in decided.items() if (lines := as_overrides(one.setting))}
        key = tuple(chosen.items())
        if key not in self._plans:
            self._plans[key] = plan_bench(self._loaded, self._options, chosen)
        return self._plans[key]

    def _trials(self, plan: BenchPlan, entry: Entry) -> EntryTrials:
        """Return the trials of an entry, which follow from the grid and from the weights of others that they take."""
        key = entry, tuple(plan.trainings(other)[0].defended for other in _others(plan, entry))
        if key not in self._planned:
            self._planned[key] = plan_trials(plan, entry)
        return self._planned[key]


def joined(trials: Iterable[EntryTrials]) -> list[Job]:
    """Return all jobs, a training that several entries take weights of once."""
    first: dict[tuple[str, str], str] = {}
    jobs = {job.name: job for one in trials for job in one.jobs}
    return [job if job.attack is None else after_first(job, first) for job in jobs.values()]


def _others(plan: BenchPlan, entry: Entry) -> list[Entry]:
    """Return the entries whose weights an entry takes."""
    return [(entry[0], other) for other in plan.grid.grid.defenses[entry[1]].weights_of.values()]


def _is_measured(trials: EntryTrials, results: Results) -> bool:
    return all(is_measured(trial, results) for trial in trials.trials)
