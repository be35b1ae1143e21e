"""Profile values stacked by precedence, each remembering where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from geotrap_cli.errors import UsageError

ENV_PREFIX = "GEOTRAP_"


@dataclass(frozen=True)
class Origin:
    """Where a value came from.

    Attributes:
        label: For people.
        folder: Where its relative paths start.
        of_run: Whether it is the resolved profile of a run, which states every value.
    """

    label: str
    folder: Path
    of_run: bool = False


@dataclass
class Layers:
    """The values set so far as nested tables, and the origin of each by dotted key."""

    tables: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def add(self, values: Mapping[str, Any], origin: Origin) -> None:
        """Lay ``values`` over what is there; ``traps.KEY = false`` takes an inherited trap away, or its dynamic table.

        ``robust.MECHANISM = false`` does the same.
        """
        self._merge(self.tables, values, origin, "")

    def _merge(self, tables: dict[str, Any], values: Mapping[str, Any], origin: Origin, prefix: str) -> None:
        for key, value in values.items():
            dotted = prefix + key
            if isinstance(value, Mapping):
                if not isinstance(tables.get(key), dict):
                    self._forget(dotted)
                    tables[key] = {}
                self.origins.setdefault(dotted, origin)
                self._merge(tables[key], value, origin, f"{dotted}.")
                continue
            self._forget(dotted)
            if value is False and _removable(dotted):
                tables.pop(key, None)
                continue
            tables[key] = value
            self.origins[dotted] = origin

    def _forget(self, dotted: str) -> None:
        inherited = [key for key in self.origins if key == dotted or key.startswith(f"{dotted}.")]
        for key in inherited:
            del self.origins[key]

    def origin_of(self, dotted: str) -> Origin | None:
        """The origin of ``dotted``, or of the nearest table around it."""
        while dotted:
            if dotted in self.origins:
                return self.origins[dotted]
            dotted = dotted.rpartition(".")[0]
        return None


def _removable(dotted: str) -> bool:
    table, *inner = dotted.split(".")
    if table == "robust":
        return len(inner) == 1
    return table == "traps" and (len(inner) == 1 or inner[1:] == ["dynamic"])


def add_environment(layers: Layers, env: Mapping[str, str]) -> None:
    """Lay ``GEOTRAP_TRAIN__STEPS=10`` and its kind over the profile.

    Only names with a double underscore are profile keys: GEOTRAP_RUNS and the like mean something else.
    """
    for name in sorted(env):
        if name.startswith(ENV_PREFIX) and "__" in name:
            keys = name[len(ENV_PREFIX) :].lower().split("__")
            layers.add(_nested(keys, parse_value(env[name])), Origin(f"env {name}", Path.cwd()))


def add_overrides(layers: Layers, overrides: Sequence[str]) -> None:
    """Lay the ``a.b=value`` arguments of ``--set`` over the profile.

    Raises:
        UsageError: An argument has no ``=`` or no key.
    """
    for override in overrides:
        dotted, equals, value = override.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys):
            raise UsageError(f"--set {override!r} has no key and value", hint="write it as --set train.steps=10")
        layers.add(_nested(keys, parse_value(value.strip())), Origin("--set", Path.cwd()))


def parse_value(text: str) -> Any:
    """``text`` as a TOML value, or as it stands when it is none (so that strings need no quotes)."""
    try:
        parsed = tomli.loads(f"value = {text}")
    except tomli.TOMLDecodeError:
        return text
    # A line break could smuggle in further keys; then the text is no single value.
    return parsed["value"] if len(parsed) == 1 else text


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value
