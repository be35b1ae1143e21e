"""Values that the chosen defense does not read."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from geotrap_cli.errors import GeotrapError
from geotrap_cli.plugins import load_plugin, plugin_keys
from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import Profile, flatten


def check_defense(profile: Profile, problems: Problems) -> None:
    """Note every value that was meant for another defense than the one that is run.

    A profile may hold what other defenses need, as one command line turns it from one to the next; what is stated where
    the defense is chosen, or after that, was meant for the chosen one.
    """
    key = profile.defense.method
    try:
        ignored = getattr(load_plugin("geotrap.defenses", key), "ignores", ())
    except GeotrapError:
        return  # Noted where the table was checked.
    for dotted in _changed(profile):
        if any(_covers(pattern, dotted) for pattern in ignored) and _meant_for_it(dotted, problems):
            problems.add_idle(dotted, f"defense '{key}' does not read it; remove it")
    for dotted in _spoken_to_others(key, problems):
        problems.add(dotted, f"defense.method is '{key}', so nothing would read it; remove it")


def _changed(profile: Profile) -> Iterator[str]:
    """Yield the dotted keys of the values that an empty profile does not have."""
    default: dict[str, Any] = flatten(Profile().tables())
    return (dotted for dotted, value in flatten(profile.tables()).items() if default.get(dotted) != value)


def _spoken_to_others(key: str, problems: Problems) -> Iterator[str]:
    """Yield the options of other defenses that --set or the environment states."""
    others = set(plugin_keys("geotrap.defenses")) - {key}
    for dotted, origin in problems.layers.origins.items():
        table, *inner = dotted.split(".")
        spoken = origin.label.startswith(("--set", "env"))
        if spoken and table == "defense" and len(inner) > 1 and inner[0] in others:
            yield dotted


def _covers(pattern: str, dotted: str) -> bool:
    return fnmatchcase(dotted, pattern) or fnmatchcase(dotted, f"{pattern}.*")


def _meant_for_it(dotted: str, problems: Problems) -> bool:
    """Whether a value was stated where the defense was chosen, or later."""
    layers, order = problems.layers, list(problems.layers.origins)
    chosen, own = layers.origin_of("defense.method"), layers.origin_of(dotted)
    if chosen is None or own is None or "defense.method" not in order:
        return False
    later = dotted in order and order.index(dotted) > order.index("defense.method")
    return later or own.label == chosen.label
