"""The profile of each entry of a grid, checked: all problems are told at once, and each of them once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from geotrap_cli.attack_choice import AttackChoice, suite_keys
from geotrap_cli.bench.grid import SET_ASIDE, DefenseEntry, LoadedGrid, ProfileEntry
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import load_plugin, suggestion
from geotrap_cli.profile.files import find_profile
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.training.attack_plan import plan_attacks
from geotrap_cli.training.defense import load_defense
from geotrap_cli.training.trap_set import measured_traps

Entry = tuple[str, str]
DEFENSE_TABLES = ("train", "defense", "traps", "aggregation", "retain", "robust", "layers")
"""Tables of a profile that are a defense's own; it may not choose how it is attacked or measured."""
FUSE_HEAD = "model.fuse_head"
"""And this, which changes no output of the undefended weights."""
Say = Callable[[str], object]
_OTHERWISE = {
    "train.seed": "name the seeds in `seeds`",
    "attack.seed": "name the seeds in `seeds`",
    "defense.method": "name it in `method` of a defense",
    "attack.methods": "name attacks in `attacks` and `suite`",
}
"""Keys of a profile that a grid says in another way, so that a value in `set` would not act, and how."""
_NOT_OF_TRIALS = {
    "data": "trials share the objects of the grid, or they would see those that the leaderboard reports",
    "eval.split": "trials are measured on validation objects",
    "attack.controls": "trials have none",
    "attack.control_attacks": "trials have none",
    "attack.tune": "trials attack with the attacks as they are set",
}
"""Keys that `tune.set` may not change, with why; a table stands for all of its keys."""


def check_names(loaded: LoadedGrid) -> None:
    """Refuse unknown names once for the grid, and not once for every entry.

    Raises:
        UsageError: A suite, an attack, a defense or a profile is unknown: all of them, one a line.
    """
    grid = loaded.grid
    attacks = dict.fromkeys((*grid.attacks, *(grid.tune.attacks if grid.tune.trials else ())))
    checks: list[Callable[[], object]] = [functools.partial(suite_keys, grid.suite)]
    checks += [functools.partial(load_plugin, "geotrap.attacks", key) for key in attacks]
    checks += [functools.partial(load_plugin, "geotrap.defenses", key) for key in _methods(grid.defenses)]
    checks += [functools.partial(_profile_path, loaded, *item) for item in grid.profiles.items()]
    raise_all(loaded, [*(problem for check in checks if (problem := problem_of(check))), *_idle(loaded)])


def _idle(loaded: LoadedGrid) -> Iterator[str]:
    """Return what the grid sets and would not act, or must not."""
    grid = loaded.grid
    sets = {"set": grid.set, "tune.set": grid.tune.set}
    sets |= {f"profiles.{label}.set": entry.set for label, entry in grid.profiles.items()}
    sets |= {f"defenses.{label}.set": entry.set for label, entry in grid.defenses.items()}
    for where, lines in sets.items():
        for dotted in map(_key, lines):
            if dotted in _OTHERWISE:
                yield f"{where}: {dotted} does not act here; {_OTHERWISE[dotted]}"
            elif where == "tune.set" and (why := _refused_in_trials(dotted)):
                yield f"{where}: {dotted} cannot be changed for trials alone: {why}"


def _refused_in_trials(dotted: str) -> str | None:
    found = (why for name, why in _NOT_OF_TRIALS.items() if f"{dotted}.".startswith(f"{name}."))
    return next(found, None)


def _key(line: str) -> str:
    """Return the dotted key of ``key=value``."""
    return line.partition("=")[0].strip()


def entry_profiles(loaded: LoadedGrid, chosen: Mapping[Entry, Sequence[str]], say: Say) -> dict[Entry, LoadedProfile]:
    """Return the profile of each entry, with every attack of the grid.

    Args:
        loaded: The grid.
        chosen: Values of single entries over all others, each ``key=value``.
        say: Takes a line for everything of the suite that cannot run.

    Raises:
        UsageError: A value is wrong, or what is asked for does not fit together: all problems, one a line.
    """
    profiles: dict[Entry, LoadedProfile] = {}
    # What is wrong with a profile is wrong for each of its defenses, and told once.
    problems: dict[str, str] = {}
    for entry in itertools.product(loaded.grid.profiles, loaded.grid.defenses):

        def check(entry: Entry = entry) -> None:
            profiles[entry] = entry_profile(loaded, entry, chosen.get(entry, ()), loaded.grid.attacks, say)
            _check_fits(profiles[entry])

        if problem := problem_of(check):
            problems.setdefault(problem, f"{' x '.join(entry)}: {problem}")
    raise_all(loaded, list(problems.values()))
    return profiles


def entry_profile(
    loaded: LoadedGrid, entry: Entry, further: Sequence[str], attacks: Sequence[str], say: Say = lambda _: None
) -> LoadedProfile:
    """Return the profile of one entry.

    Args:
        loaded: The grid.
        entry: Labels of profile and defense.
        further: Values over those of the grid, each ``key=value``.
        attacks: Attacks beside those of the suite.
        say: Takes a line for everything of the suite that cannot run.

    Raises:
        UsageError: A value is wrong.
    """
    options = entry_options(loaded, entry, further)

    def note(line: str) -> None:
        say(f"{entry[0]}: {line}")

    found = AttackChoice(tuple(attacks), loaded.grid.suite).load(options, note)
    return dataclasses.replace(found, name=entry[1])


def entry_options(loaded: LoadedGrid, entry: Entry, further: Sequence[str]) -> CommonOptions:
    """Return what the profile of an entry is loaded by: its file, the values of the grid, and ``further`` over them.

    Raises:
        UsageError: The defense takes weights for an option that it does not have.
    """
    profile, defense = loaded.grid.profiles[entry[0]], loaded.grid.defenses[entry[1]]
    method = defense.method or entry[1]
    _check_options(method, defense)
    _check_scope(entry[1], defense)
    # First, so that the grid may say otherwise.
    aside = (f"data.set_aside={SET_ASIDE}",) if loaded.grid.tune.trials else ()
    own = (*loaded.grid.set, *profile.set, f"defense.method={method}", *defense.set)
    return CommonOptions(profile=_profile_path(loaded, entry[0], profile), overrides=(*aside, *own, *further))


def stated_keys(loaded: LoadedGrid, entry: Entry) -> set[str]:
    """Return the dotted keys that the grid itself sets for an entry."""
    grid = loaded.grid
    lines = (*grid.set, *grid.profiles[entry[0]].set, *grid.defenses[entry[1]].set)
    return set(map(_key, lines))


def problem_of(check: Callable[[], object]) -> str | None:
    """Return what a check finds wrong, None where it finds nothing."""
    try:
        check()
    except GeotrapError as error:
        return str(error)
    return None


def raise_all(loaded: LoadedGrid, problems: Sequence[str]) -> None:
    """Raise one error with all problems of a grid, if there are any.

    Raises:
        UsageError: There are.
    """
    if len(problems) == 1:
        raise UsageError(f"grid {loaded.path}: {problems[0]}")
    if problems:
        listing = "".join(f"\n  {line}" for line in problems)
        raise UsageError(f"grid {loaded.path}: {len(problems)} problems{listing}")


def _methods(defenses: Mapping[str, DefenseEntry]) -> tuple[str, ...]:
    return tuple(entry.method or label for label, entry in defenses.items())


def _profile_path(loaded: LoadedGrid, label: str, entry: ProfileEntry) -> str:
    return str(find_profile(entry.profile or label, loaded.path.parent))


def _check_options(key: str, entry: DefenseEntry) -> None:
    """Refuse weights for an option that the defense does not have, or that takes none."""
    fields = load_plugin("geotrap.defenses", key).Config.model_fields
    known = [name for name, field in fields.items() if _takes_path(field.annotation)]
    for option in entry.weights_of:
        if option not in known:
            what = f"weights_of.{option}: defense '{key}' takes no weights as that option"
            raise UsageError(what, suggestion(option, known) if known else "leave it out: it takes none at all")


def _takes_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_takes_path, get_args(annotation)))


def _check_scope(label: str, entry: DefenseEntry) -> None:
    """Refuse values by which one defense would be attacked or measured in another way than the rest."""
    for line in entry.set:
        dotted = _key(line)
        if dotted.partition(".")[0] not in DEFENSE_TABLES and dotted != FUSE_HEAD:
            what = f"defenses.{label}.set: {dotted} is nothing of a defense, and has to be the same for all of them"
            raise UsageError(what, "Move it to `set` of the grid or of a profile")


def _check_fits(loaded: LoadedProfile) -> None:
    """Refuse now what a job would refuse after hours of others."""
    plan_attacks(loaded.profile)
    measured_traps(loaded.profile, load_defense(loaded.profile))
