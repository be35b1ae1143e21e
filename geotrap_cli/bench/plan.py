"""From a grid to its jobs: every profile checked first, all problems told at once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from geotrap_cli.attack_choice import AttackChoice, suite_keys, with_attack_fields
from geotrap_cli.bench.digest import attack_digest, defense_digest, run_name
from geotrap_cli.bench.grid import DefenseEntry, LoadedGrid, ProfileEntry
from geotrap_cli.bench.job import Job
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import load_plugin, suggestion
from geotrap_cli.profile.files import find_profile
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import AttackTable
from geotrap_cli.training.attack_plan import plan_attacks
from geotrap_cli.training.defense import load_defense, measured_traps

Entry = tuple[str, str]


@dataclass(frozen=True)
class BenchPlan:
    """A grid made concrete.

    Attributes:
        grid: The file.
        profiles: The profile of each entry, with every attack of the grid, by labels of profile and defense.
        jobs: What is to be done, each after those that it waits for.
        left_out: What of the suite cannot run, one line each.
    """

    grid: LoadedGrid
    profiles: dict[Entry, LoadedProfile]
    jobs: tuple[Job, ...]
    left_out: tuple[str, ...]

    def attacks(self, entry: Entry) -> list[Job]:
        """Return the attacks on an entry, over all seeds."""
        return [job for job in self.jobs if job.attack is not None and job.entry == entry]

    def trainings(self, entry: Entry) -> list[Job]:
        """Return the trainings of an entry, one a seed."""
        return [job for job in self.jobs if job.attack is None and job.entry == entry]


def plan_bench(loaded: LoadedGrid, options: CommonOptions) -> BenchPlan:
    """Check every profile of the grid and return its jobs.

    Args:
        loaded: The grid.
        options: Device, and the folder of the grid's runs.

    Raises:
        UsageError: A profile, a defense, an attack or a value is wrong: all of them, one a line.
    """
    _check_names(loaded)
    left_out = dict[str, None]()
    profiles = _entry_profiles(loaded, left_out)
    inner = dataclasses.replace(options, quiet=True, profile=None, overrides=(), seed=None, json=False, dry_run=False)
    jobs = tuple(_jobs(loaded, profiles, inner))
    return BenchPlan(loaded, profiles, jobs, tuple(left_out))


def _check_names(loaded: LoadedGrid) -> None:
    """Refuse unknown names once for the grid, and not once for every entry."""
    grid = loaded.grid
    checks: list[Callable[[], object]] = [functools.partial(suite_keys, grid.suite)]
    checks += [functools.partial(load_plugin, "geotrap.attacks", key) for key in grid.attacks]
    checks += [functools.partial(load_plugin, "geotrap.defenses", key) for key in _methods(grid.defenses)]
    checks += [functools.partial(_profile_path, loaded, *item) for item in grid.profiles.items()]
    _raise_all(loaded, [problem for check in checks if (problem := _problem(check))])


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except GeotrapError as error:
        return str(error)
    return None


def _raise_all(loaded: LoadedGrid, problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise UsageError(f"grid {loaded.path}: {problems[0]}")
    if problems:
        listing = "".join(f"\n  {line}" for line in problems)
        raise UsageError(f"grid {loaded.path}: {len(problems)} problems{listing}")


def _entry_profiles(loaded: LoadedGrid, left_out: dict[str, None]) -> dict[Entry, LoadedProfile]:
    profiles: dict[Entry, LoadedProfile] = {}
    # What is wrong with a profile is wrong for each of its defenses, and told once.
    problems: dict[str, str] = {}
    for entry in itertools.product(loaded.grid.profiles, loaded.grid.defenses):

        def check(entry: Entry = entry) -> None:
            profiles[entry] = _entry_profile(loaded, entry, left_out.setdefault)
            _check_fits(profiles[entry])

        if problem := _problem(check):
            problems.setdefault(problem, f"{' x '.join(entry)}: {problem}")
    _raise_all(loaded, list(problems.values()))
    return profiles


def _methods(defenses: dict[str, DefenseEntry]) -> tuple[str, ...]:
    return tuple(entry.method or label for label, entry in defenses.items())


def _entry_profile(loaded: LoadedGrid, entry: Entry, say: Callable[[str], object]) -> LoadedProfile:
    grid = loaded.grid
    profile, defense = grid.profiles[entry[0]], grid.defenses[entry[1]]
    overrides = (*grid.set, *profile.set, f"defense.method={defense.method or entry[1]}", *defense.set)
    _check_options(defense.method or entry[1], defense)
    path = _profile_path(loaded, entry[0], profile)
    options = CommonOptions(profile=path, overrides=overrides)
    choice = AttackChoice(grid.attacks, grid.suite)

    def note(line: str) -> None:
        say(f"{entry[0]}: {line}")

    found = choice.load(options, note)
    return dataclasses.replace(found, name=entry[1])


def _profile_path(loaded: LoadedGrid, label: str, entry: ProfileEntry) -> str:
    return str(find_profile(entry.profile or label, loaded.path.parent))


def _check_options(key: str, entry: DefenseEntry) -> None:
    """Refuse weights for an option that the defense does not have."""
    known = load_plugin("geotrap.defenses", key).Config.model_fields
    for option in entry.weights_of:
        if option not in known:
            raise UsageError(f"weights_of.{option}: defense '{key}' has no such option", suggestion(option, known))


def _check_fits(loaded: LoadedProfile) -> None:
    """Refuse now what a job would refuse after hours of others."""
    plan_attacks(loaded.profile)
    measured_traps(loaded.profile, load_defense(loaded.profile))


def _jobs(loaded: LoadedGrid, profiles: dict[Entry, LoadedProfile], options: CommonOptions) -> Iterator[Job]:
    for seed in loaded.grid.seeds:
        seeded = {entry: _with_seed(found, seed) for entry, found in profiles.items()}
        digests: dict[Entry, str] = {}
        for entry in profiles:
            _digest(loaded, entry, seeded, digests)
        for entry, found in seeded.items():
            yield _training(loaded, entry, seed, found, digests, options)
        # By attack: what an attack makes of the undefended weights is measured beside the first defense, for all.
        first: dict[tuple[str, str], str] = {}
        for entry, found in seeded.items():
            for key in found.profile.attack.methods:
                job = _attack(entry, seed, key, found, digests[entry], options)
                before = first.setdefault((entry[0], key), job.name)
                yield job if before == job.name else dataclasses.replace(job, after=(before,))


def _digest(loaded: LoadedGrid, entry: Entry, profiles: dict[Entry, LoadedProfile], known: dict[Entry, str]) -> str:
    if entry not in known:
        others = loaded.grid.defenses[entry[1]].weights_of
        inner = {option: _digest(loaded, (entry[0], other), profiles, known) for option, other in others.items()}
        known[entry] = defense_digest(profiles[entry].profile, inner)
    return known[entry]


def _with_seed(loaded: LoadedProfile, seed: int) -> LoadedProfile:
    profile = loaded.profile
    tables = {name: getattr(profile, name).model_copy(update={"seed": seed}) for name in ("train", "attack")}
    origins = loaded.origins | {f"{name}.seed": "seeds of the grid" for name in tables}
    return dataclasses.replace(loaded, profile=profile.model_copy(update=tables), origins=origins)


def _job_name(entry: Entry, seed: int, what: str) -> str:
    return f"{entry[0]}, {entry[1]}, seed {seed}: {what}"


def _training(
    loaded: LoadedGrid,
    entry: Entry,
    seed: int,
    found: LoadedProfile,
    digests: dict[Entry, str],
    options: CommonOptions,
) -> Job:
    others = {option: (entry[0], other) for option, other in loaded.grid.defenses[entry[1]].weights_of.items()}
    name = run_name(entry[1], digests[entry])
    return Job(
        name=_job_name(entry, seed, "defense"),
        entry=entry,
        seed=seed,
        attack=None,
        defended=name,
        loaded=dataclasses.replace(found, name=name),
        options=options,
        needs=tuple(_job_name(other, seed, "defense") for other in others.values()),
        weights_of={option: run_name(other[1], digests[other]) for option, other in others.items()},
    )


def _attack(entry: Entry, seed: int, key: str, found: LoadedProfile, digest: str, options: CommonOptions) -> Job:
    alone = _one_attack(found, key)
    name = run_name(entry[1], digest, attack_digest(alone.profile, key))
    return Job(
        name=_job_name(entry, seed, key),
        entry=entry,
        seed=seed,
        attack=key,
        defended=run_name(entry[1], digest),
        loaded=dataclasses.replace(alone, name=name),
        options=options,
        needs=(_job_name(entry, seed, "defense"),),
    )


def _one_attack(loaded: LoadedProfile, key: str) -> LoadedProfile:
    """Return the profile with one of its attacks, the options of that alone, and controls where they belong to it."""
    table: AttackTable = loaded.profile.attack
    controlled = not table.control_attacks or key in table.control_attacks
    fields = {
        "methods": (key,),
        "controls": table.controls if controlled else (),
        "control_attacks": table.control_attacks and (key,) if controlled else (),
    }
    return with_attack_fields(_without_others(loaded, key), fields, "the grid")


def _without_others(loaded: LoadedProfile, key: str) -> LoadedProfile:
    table = loaded.profile.attack
    others = [name for name in table.model_extra or {} if name != key]
    prefixes = tuple(f"attack.{name}." for name in others)
    values = {name: value for name, value in dict(table).items() if name not in others}
    profile = loaded.profile.model_copy(update={"attack": AttackTable.model_validate(values)})
    origins = {name: origin for name, origin in loaded.origins.items() if not name.startswith(prefixes)}
    return dataclasses.replace(loaded, profile=profile, origins=origins)
