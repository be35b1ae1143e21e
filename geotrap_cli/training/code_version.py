"""Which code computed a result: a digest of the program's sources and of those of the plug-ins that took part."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import geotrap_cli
from geotrap_cli.attacks import Attack
from geotrap_cli.plugins import load_plugin
from geotrap_cli.profile.schema import Profile

# What only shows results, or asks for them, changes none.
_WITHOUT_EFFECT = frozenset({"bench", "cli", "reports", "sweep", "viewer"})


def attack_code(profile: Profile, attack: type[Attack]) -> str:
    """Return the version of the code that scores of an attack on a profile's weights are computed by."""
    return code_version(attack, *_generator_and_data(profile))


def defense_code(profile: Profile, defense: type[object]) -> str:
    """Return the version of the code that a profile's defended weights are computed by, that of its traps included."""
    traps = (load_plugin("geotrap.traps", key) for key in profile.traps)
    return code_version(defense, *_generator_and_data(profile), *traps)


def _generator_and_data(profile: Profile) -> Iterator[type[object]]:
    yield load_plugin("geotrap.models", profile.model.family)
    own = profile.attack.data
    for kind in (profile.data.kind, *([] if own is None else [own.kind])):
        yield load_plugin("geotrap.datasets", kind)


def code_version(*plugins: type[object]) -> str:
    """Return the program's version with a digest of the sources that what ``plugins`` do is computed by."""
    return _digest_sources(frozenset(Path(inspect.getfile(plugin)) for plugin in plugins))


@functools.cache
def _digest_sources(plugins: frozenset[Path]) -> str:
    own = Path(inspect.getfile(geotrap_cli)).parent
    sources = {file for file in own.rglob("*.py") if file.relative_to(own).parts[0] not in _WITHOUT_EFFECT}
    for plugin in plugins:
        sources.update(plugin.parent.glob("*.py") if (plugin.parent / "__init__.py").is_file() else [plugin])
    digest = hashlib.sha256()
    # Folders of plug-ins lie elsewhere on another machine.
    for name, content in sorted((file.name, file.read_bytes()) for file in sources):
        digest.update(name.encode() + b"\0" + content)
    return f"{version('geotrap')}+{digest.hexdigest()[:12]}"
