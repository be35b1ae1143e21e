"""From a grid to its jobs: every profile checked first, all problems told at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from geotrap_cli.bench.grid import LoadedGrid
from geotrap_cli.bench.job import Job
from geotrap_cli.bench.make_jobs import Place, after_first, attack_job, training_job, with_seed
from geotrap_cli.bench.profiles import Entry, check_names, entry_profiles
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile


@dataclass(frozen=True)
class BenchPlan:
    """A grid made concrete.

    Attributes:
        grid: The file.
        profiles: The profile of each entry, with every attack of the grid, by labels of profile and defense.
        jobs: What is to be done for the leaderboard, each after those that it waits for.
        left_out: What of the suite cannot run, one line each.
        options: Device, and the folder of the grid's runs, as its jobs get them.
    """

    grid: LoadedGrid
    profiles: dict[Entry, LoadedProfile]
    jobs: tuple[Job, ...]
    left_out: tuple[str, ...]
    options: CommonOptions

    def attacks(self, entry: Entry) -> list[Job]:
        """Return the attacks on an entry, over all seeds."""
        return [job for job in self.jobs if job.attack is not None and job.entry == entry]

    def trainings(self, entry: Entry) -> list[Job]:
        """Return the trainings of an entry, one a seed, in the order of the seeds."""
        return [job for job in self.jobs if job.attack is None and job.entry == entry]


def plan_bench(
    loaded: LoadedGrid, options: CommonOptions, chosen: Mapping[Entry, Sequence[str]] | None = None
) -> BenchPlan:
    """Check every profile of the grid and return its jobs.

    Args:
        loaded: The grid.
        options: Device, and the folder of the grid's runs.
        chosen: Values that tuning chose for single entries, each ``key=value``; they go before all others.

    Raises:
        UsageError: A profile, a defense, an attack or a value is wrong: all of them, one a line.
    """
    check_names(loaded)
    left_out = dict[str, None]()
    profiles = entry_profiles(loaded, chosen or {}, left_out.setdefault)
    inner = dataclasses.replace(options, quiet=True, profile=None, overrides=(), seed=None, json=False, dry_run=False)
    jobs = tuple(_jobs(loaded, profiles, inner))
    return BenchPlan(loaded, profiles, jobs, tuple(left_out), inner)


def _jobs(loaded: LoadedGrid, profiles: Mapping[Entry, LoadedProfile], options: CommonOptions) -> Iterator[Job]:
    for seed in loaded.grid.seeds:
        seeded = {entry: with_seed(found, seed) for entry, found in profiles.items()}
        trainings: dict[Entry, Job] = {}
        for entry in profiles:
            yield _training(loaded, Place(entry, seed), seeded, trainings, options)
        first: dict[tuple[str, str], str] = {}
        for entry, found in seeded.items():
            for key in found.profile.attack.methods:
                yield after_first(attack_job(trainings[entry], key, found), first)


def _training(
    loaded: LoadedGrid,
    place: Place,
    profiles: Mapping[Entry, LoadedProfile],
    known: dict[Entry, Job],
    options: CommonOptions,
) -> Job:
    """Return the training of an entry, made after those whose weights it takes."""
    entry = place.entry
    if entry not in known:
        others = loaded.grid.defenses[entry[1]].weights_of
        inner = {
            option: _training(loaded, Place((entry[0], other), place.seed), profiles, known, options)
            for option, other in others.items()
        }
        known[entry] = training_job(place, profiles[entry], inner, options)
    return known[entry]
