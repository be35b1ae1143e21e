"""The combinations of a sweep, and the profile of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geotrap_cli.atomic import write_text
from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import list_plugins, load_plugin
from geotrap_cli.profile.dump import dump_toml
from geotrap_cli.profile.load import LoadedProfile, load_profile
from geotrap_cli.profile.schema import Profile

#: One trap for each attribute of a Gaussian.
DEFAULT_TRAPS = ("position", "scale", "opacity", "rotation", "color")


@dataclass(frozen=True)
class Combination:
    """Some traps that are trained together, in the order in which they were named."""

    traps: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its profile and of its runs."""
        return "-".join(self.traps)

    def __str__(self) -> str:
        return " + ".join(self.traps)


def combinations(traps: Sequence[str], size: int, singles: bool) -> list[Combination]:
    """Return every choice of ``size`` of ``traps``; with ``singles``, each trap alone comes first.

    Raises:
        UsageError: A trap is unknown or named twice, or there are fewer than ``size``.
    """
    repeated = sorted({trap for trap in traps if traps.count(trap) > 1})
    if repeated:
        raise UsageError(f"--traps names {repeated[0]} twice", "Name every trap once")
    for trap in traps:
        load_plugin("geotrap.traps", trap)
    if not 1 <= size <= len(traps):
        raise UsageError(f"--size {size} of {len(traps)} traps", f"Choose a size from 1 to {len(traps)}")
    sizes = [size] if size == 1 or not singles else [1, size]
    return [Combination(chosen) for number in sizes for chosen in itertools.combinations(traps, number)]


def default_traps() -> tuple[str, ...]:
    """Return the traps of a sweep that names none: those of the five attributes, where they are installed."""
    installed = {plugin.key for plugin in list_plugins("geotrap.traps")}
    return tuple(trap for trap in DEFAULT_TRAPS if trap in installed)


def combination_profile(base: LoadedProfile, combination: Combination, folder: Path) -> LoadedProfile:
    """Write and load the profile of one combination: the base profile with these traps and no others.

    A trap that the base profile has keeps its settings; any other one has its defaults.

    Raises:
        UsageError: The aggregation of the base profile does not take these traps.
    """
    tables = base.profile.tables()
    stated = tables.get("traps", {})
    tables["traps"] = {trap: stated.get(trap, {}) for trap in combination.traps}
    path = folder / f"{combination.name}.toml"
    write_text(path, dump_toml(Profile.model_validate(tables)))
    return load_profile(str(path), env={})
