"""From a name or path to a checked profile that knows where each of its values came from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from geotrap_cli.profile.files import add_file, find_profile, is_shipped
from geotrap_cli.profile.idle import check_idle
from geotrap_cli.profile.layers import Layers, add_environment, add_overrides
from geotrap_cli.profile.paths import make_paths_absolute
from geotrap_cli.profile.plugin_tables import check_plugin_tables
from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import Profile, flatten

DEFAULT_PROFILE = "pos_opacity"


@dataclass(frozen=True)
class LoadedProfile:
    """A checked profile, with the origin of every value by dotted key.

    An origin is ``default``, ``profile <file>``, ``env GEOTRAP_...`` or ``--set``; ``source`` says in words which
    profile it is, and ``name`` is its short name, as run folders carry it.
    """

    profile: Profile
    origins: dict[str, str]
    source: str
    path: Path
    name: str


def load_profile(
    name_or_path: str | Path = DEFAULT_PROFILE,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    complete: bool = True,
    suite: bool = False,
) -> LoadedProfile:
    """Load a profile; a later source wins: default < profile < ``GEOTRAP_TABLE__KEY`` < ``--set table.key=value``.

    Args:
        name_or_path: A TOML file, or the name of a shipped profile; ``.toml`` may be left out.
        overrides: The arguments of ``--set``.
        env: The environment; None: that of the process.
        complete: Whether what the data set reader requires, such as its folder, must be there.
        suite: Whether a suite of attacks chooses the controls where the profile names none.

    Raises:
        UsageError: The file is missing or not TOML, or values are wrong: all of them, one a line.
    """
    path = find_profile(str(name_or_path))
    layers = Layers()
    add_file(layers, path)
    add_environment(layers, os.environ if env is None else env)
    add_overrides(layers, overrides)
    source = f"shipped profile {path.stem}" if is_shipped(path) else f"profile {path}"
    profile = _check(layers, source, complete, suite)
    return LoadedProfile(profile, _origins(profile, layers), source, path, path.stem)


def _check(layers: Layers, source: str, complete: bool, suite: bool) -> Profile:
    make_paths_absolute(layers)
    problems = Problems(layers)
    tables = check_plugin_tables(layers, problems, complete)
    profile = Profile()
    try:
        profile = Profile.model_validate(tables)
    except ValidationError as error:
        problems.add_validation(error, Profile)
    check_idle(profile, problems, suite)
    problems.raise_if_any(source)
    return profile


def _origins(profile: Profile, layers: Layers) -> dict[str, str]:
    stated = layers.origins
    return {dotted: stated[dotted].label if dotted in stated else "default" for dotted in flatten(profile.tables())}
