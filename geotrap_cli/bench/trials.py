"""The trials of tuning: settings of each defense, and the jobs that tell how good they are.

All settings are drawn before anything is run, so that trials can be worked on side by side and on any machine; with
more trials, the earlier ones stay. A trial is a training and the attacks of ``[tune]``, named by digest like all other
jobs: where it is trained as the leaderboard's defense is, it is that defense, and is not trained again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geotrap_cli.attack_choice import with_attack_fields
from geotrap_cli.bench.grid import LoadedGrid, TuningTable
from geotrap_cli.bench.job import Job
from geotrap_cli.bench.make_jobs import Place, attack_job, training_job, with_seed
from geotrap_cli.bench.plan import BenchPlan
from geotrap_cli.bench.profiles import (
    DEFENSE_TABLES,
    Entry,
    entry_options,
    entry_profile,
    problem_of,
    raise_all,
    stated_keys,
)
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.plugins import load_plugin
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile, flatten
from geotrap_cli.search_ranges import Range, Value
from geotrap_cli.training.attack_plan import plan_attacks

DRAWS = 50
"""Points that are drawn for each trial before a space of few choices counts as exhausted."""
FRUGAL = ("attack.tune.trials=0", "attack.keep_gaussians=0")
"""A trial attacks with the attacks as they are set, as a search for the best setting of each would multiply the trials,
and keeps no pictures for a viewer."""
ORIGIN = "[tune] of the grid"
Setting = Mapping[str, Value]


@dataclass(frozen=True)
class Trial:
    """One setting that is tried.

    Attributes:
        number: Its place in the search; 0 is the defense as the grid has it.
        setting: Values by dotted key, over those of the grid; empty for the first.
        jobs: The training, then the attacks.
    """

    number: int
    setting: Setting
    jobs: tuple[Job, ...]

    @property
    def attacks(self) -> list[Job]:
        """Its attacks."""
        return [job for job in self.jobs if job.attack is not None]


@dataclass(frozen=True)
class EntryTrials:
    """The trials of one defense under one profile.

    Attributes:
        entry: Labels of profile and defense.
        method: Key of the defense.
        ranges: What is searched, by dotted key; empty where nothing is.
        trials: What is tried; empty where nothing is searched.
        before: Trainings of other defenses whose weights it takes.
    """

    entry: Entry
    method: str
    ranges: Mapping[str, Range]
    trials: tuple[Trial, ...]
    before: tuple[Job, ...] = ()

    @property
    def jobs(self) -> list[Job]:
        """All jobs, each after those that it waits for."""
        return [*self.before, *(job for trial in self.trials for job in trial.jobs)]


def plan_trials(plan: BenchPlan, entry: Entry) -> EntryTrials:
    """Return the trials of an entry, the first seed's.

    Args:
        plan: The grid, with what is chosen so far; from there come the weights of other defenses.
        entry: Labels of profile and defense.

    Raises:
        UsageError: A setting is no valid profile, or an attack of ``[tune]`` cannot run: all problems, one a line.
    """
    loaded = plan.grid
    profile = plan.profiles[entry].profile
    ranges = search_space(loaded, entry, profile)
    method = profile.defense.method
    if not ranges:
        return EntryTrials(entry, method, {}, ())
    own = flatten(profile.tables())
    settings = draw_settings(ranges, {name: own.get(name) for name in ranges}, loaded.grid.tune)
    others = loaded.grid.defenses[entry[1]].weights_of
    weights_of = {option: plan.trainings((entry[0], other))[0] for option, other in others.items()}
    trials: list[Trial] = []
    problems: list[str] = []
    base = _base(loaded, entry)
    for number, setting in enumerate(settings):

        def add(number: int = number, setting: Setting = setting) -> None:
            found = _with_setting(loaded, entry, base, setting)
            trials.append(Trial(number, setting, _jobs(plan, entry, number, found, weights_of)))

        if problem := problem_of(add):
            problems.append(f"{' x '.join(entry)}, trial {number}: {problem}")
    raise_all(loaded, problems)
    before = {training.name: training for training in weights_of.values()}
    return EntryTrials(entry, method, ranges, tuple(trials), tuple(before.values()))


def search_space(loaded: LoadedGrid, entry: Entry, profile: Profile) -> dict[str, Range]:
    """Return what is searched of an entry, by dotted key: what its defense declares and the grid does not state.

    Raises:
        GeotrapError: The defense declares what is no option of a defense.
    """
    method, own = profile.defense.method, flatten(profile.tables())
    declared: Mapping[str, Range] = getattr(load_plugin("geotrap.defenses", method), "search", {})
    stated = stated_keys(loaded, entry) | {line.partition("=")[0].strip() for line in loaded.grid.tune.set}
    found = {}
    for name, declared_range in declared.items():
        dotted = name if "." in name else f"defense.{method}.{name}"
        if dotted.partition(".")[0] not in DEFENSE_TABLES:
            what = f"defense '{method}' declares {dotted} to be searched, which is no option of a defense"
            raise GeotrapError(what, "Correct `search` of its class")
        absolute = declared_range.around(own.get(dotted))
        if dotted not in stated and absolute is not None:
            found[dotted] = absolute
    return found


def draw_settings(ranges: Mapping[str, Range], own: Mapping[str, Any], tune: TuningTable) -> list[Setting]:
    """Return different settings: first none at all, then points of a scrambled Halton sequence of ``tune.seed``.

    Fewer than ``tune.trials`` where the ranges have no more.

    Args:
        ranges: What is searched, by dotted key.
        own: The values that the defense has without a trial.
        tune: The table ``[tune]``.
    """
    # Imported here: it takes its time, and only a grid with trials needs it.
    from scipy.stats import qmc

    sampler = qmc.Halton(len(ranges), seed=tune.seed)
    settings: list[Setting] = [{}]
    seen: list[Mapping[str, Any]] = [dict(own)]
    for _ in range(DRAWS * tune.trials):
        if len(settings) == tune.trials:
            break
        shares = sampler.random()[0]
        setting = {name: one.at(float(share)) for (name, one), share in zip(ranges.items(), shares, strict=True)}
        if setting not in seen:
            settings.append(setting)
            seen.append(setting)
    return settings


def as_overrides(setting: Setting) -> tuple[str, ...]:
    """Return a setting as lines of ``--set``; JSON writes these values as TOML does."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in setting.items())


def _base(loaded: LoadedGrid, entry: Entry) -> LoadedProfile:
    """Return the profile of the first trial, with the attacks that all of them are judged by.

    Raises:
        UsageError: A value of ``[tune]`` is wrong, or an attack cannot run.
    """
    tune, found = loaded.grid.tune, dict[str, LoadedProfile]()

    def load() -> None:
        found["base"] = entry_profile(loaded, entry, (*FRUGAL, *tune.set), tune.attacks)
        plan_attacks(_judged_by(found["base"], tune.attacks).profile)

    if problem := problem_of(load):
        raise_all(loaded, [f"{' x '.join(entry)}, [tune]: {problem}"])
    return found["base"]


def _with_setting(loaded: LoadedGrid, entry: Entry, base: LoadedProfile, setting: Setting) -> LoadedProfile:
    """Return the profile of a trial: checked as any other, but for the attacks, which no setting changes."""
    further = (*as_overrides(setting), *FRUGAL, *loaded.grid.tune.set)
    found = entry_options(loaded, entry, further).load_profile("attack", seed_table="attack")
    profile = found.profile.model_copy(update={"attack": base.profile.attack})
    origins = {dotted: origin for dotted, origin in found.origins.items() if not dotted.startswith("attack.")}
    origins |= {dotted: origin for dotted, origin in base.origins.items() if dotted.startswith("attack.")}
    return dataclasses.replace(found, profile=profile, origins=origins, name=entry[1])


def _jobs(
    plan: BenchPlan, entry: Entry, number: int, found: LoadedProfile, weights_of: Mapping[str, Job]
) -> tuple[Job, ...]:
    grid = plan.grid.grid
    place = Place(entry, grid.seeds[0], number)
    seeded = with_seed(found, place.seed)
    training = training_job(place, seeded, weights_of, plan.options)
    judged = _on_validation(seeded)
    return (training, *(attack_job(training, key, judged) for key in grid.tune.attacks))


def _judged_by(found: LoadedProfile, attacks: Sequence[str]) -> LoadedProfile:
    """Return the profile with those attacks alone; a suite of the grid has others."""
    return with_attack_fields(found, {"methods": tuple(attacks), "controls": (), "control_attacks": ()}, ORIGIN)


def _on_validation(found: LoadedProfile) -> LoadedProfile:
    """Return the profile measured on validation objects, without controls.

    Raises:
        UsageError: The grid sets aside no source objects, or measures its leaderboard on validation objects.
    """
    profile = found.profile
    if profile.data.set_aside == 0:
        raise UsageError("[tune] needs source objects to measure, and data.set_aside is 0", "Leave that out")
    if profile.eval.split == "validation":
        what = "eval.split is 'validation', so the leaderboard would report what trials are chosen by"
        raise UsageError(what, "Leave that out of a grid with [tune]")
    judged = profile.eval.model_copy(update={"split": "validation"})
    found = dataclasses.replace(
        found,
        profile=profile.model_copy(update={"eval": judged}),
        origins=found.origins | {"eval.split": ORIGIN},
    )
    return with_attack_fields(found, {"controls": (), "control_attacks": ()}, ORIGIN)
