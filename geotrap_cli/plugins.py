"""Plug-ins: classes found through entry points, built-ins and third-party packages alike.

``GEOTRAP_PLUGINS=off`` leaves only the built-ins; a comma-separated list of package names leaves the built-ins and
those packages.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from geotrap_cli.errors import GeotrapError, UsageError

GROUPS = ("geotrap.traps", "geotrap.attacks", "geotrap.datasets", "geotrap.models", "geotrap.defenses")
PLUGINS_VARIABLE = "GEOTRAP_PLUGINS"
BUILT_IN = "geotrap"

_SCANNED: ContextVar[dict[str, Collection[EntryPoint]] | None] = ContextVar("scanned", default=None)

_NOUNS = {
    "geotrap.traps": "trap",
    "geotrap.attacks": "attack",
    "geotrap.datasets": "data set",
    "geotrap.models": "model",
    "geotrap.defenses": "defense",
}

_METHODS = {
    "geotrap.traps": ("loss", "depth"),
    "geotrap.attacks": ("variants", "phases", "prepare", "optimizer", "save"),
    "geotrap.datasets": ("rings", "views", "fingerprint"),
    "geotrap.models": ("check", "network"),
    "geotrap.defenses": ("prepare", "objective"),
}
"""What a class without the base class of its group most likely lacks."""

_BROKEN_HINT = "update or uninstall the package; `geotrap plugins` shows the state of all"


@dataclass(frozen=True)
class PluginInfo:
    """One registered plug-in; ``error`` says why it cannot be used, None when it can."""

    key: str
    group: str
    package: str
    version: str
    summary: str
    error: str | None


def load_plugin(group: str, key: str) -> type[Any]:
    """Import the class registered as ``key`` in ``group``.

    Raises:
        UsageError: No enabled package registers ``key``.
        GeotrapError: Two packages register it, or its package is broken.
    """
    found = [entry for entry in _entries(group) if entry.name == key]
    if not found:
        raise _unknown(group, key)
    if len(found) > 1:
        raise GeotrapError(
            f"{_NOUNS[group]} '{key}' is registered by several packages: {_package_names(found)}",
            hint=f"uninstall all but one, or name the packages to use in {PLUGINS_VARIABLE}",
        )
    try:
        return _import(found[0])
    except _BrokenPluginError as error:
        raise GeotrapError(
            f"{_NOUNS[group]} '{key}' of package {_package(found[0])} cannot be loaded: {error}", hint=_BROKEN_HINT
        ) from error.__cause__


def build_plugin(group: str, key: str, options: Mapping[str, Any]) -> Any:
    """An instance of the plug-in ``key``, made from plain ``options`` (its ``Config`` fields as in a profile).

    Raises:
        ValidationError: The options do not fit (pydantic's error).
        GeotrapError: The plug-in cannot be loaded or made.
    """
    plugin: Any = load_plugin(group, key)
    config = parse_config(plugin, options)
    try:
        return plugin(config)
    except GeotrapError:
        raise
    except Exception as error:
        package = _package_names([entry for entry in _entries(group) if entry.name == key])
        raise GeotrapError(
            f"{_NOUNS[group]} '{key}' of package {package} cannot be made: {_one_line(error)}", hint=_BROKEN_HINT
        ) from error


def parse_config(plugin: Any, options: Mapping[str, Any]) -> Any:
    """``options`` as the plug-in's ``Config``; raises pydantic's ValidationError when they do not fit."""
    # JSON mode, because a strict model takes lists for tuples and strings for paths only there.
    return plugin.Config.model_validate_json(json.dumps(dict(options), default=str))


def plugin_keys(group: str) -> list[str]:
    """The keys registered in ``group``, sorted; imports no plug-in."""
    return sorted({entry.name for entry in _entries(group)})


def list_plugins(group: str | None = None) -> list[PluginInfo]:
    """All enabled plug-ins, of one group or of all. Imports each, and reports what is broken instead of raising."""
    groups = GROUPS if group is None else (group,)
    return [_describe(name, entry) for name in groups for entry in _entries(name)]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean 'position'?`` when a known word is close, else the list of them."""
    # Imported here, because finding plug-ins must stay cheap.
    from rapidfuzz import fuzz, process

    words = sorted(known)
    close = process.extractOne(word, words, scorer=fuzz.ratio, score_cutoff=60)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(words) or 'none'}"


@contextlib.contextmanager
def scanned_once() -> Iterator[None]:
    """Look at the installed packages once inside, however many plug-ins are asked for.

    Every look reads the metadata of all packages, which is most of what checking a profile takes. What is installed
    meanwhile is not seen.
    """
    token = _SCANNED.set({})
    try:
        yield
    finally:
        _SCANNED.reset(token)


class _BrokenPluginError(Exception):
    """Why an entry point gives no usable class, in one line."""


def _entries(group: str) -> list[EntryPoint]:
    if group not in GROUPS:
        raise ValueError(f"unknown plug-in group {group!r}")
    found = _installed(group)
    # A package's name is parsed from its metadata each time it is asked for, and its entries share one object.
    one_each = {id(entry.dist): entry for entry in found}
    packages = {key: _package(entry) for key, entry in one_each.items()}
    enabled = [entry for entry in found if _enabled(packages[id(entry.dist)])]
    return sorted(enabled, key=lambda entry: (entry.name, packages[id(entry.dist)]))


def _installed(group: str) -> Collection[EntryPoint]:
    known = _SCANNED.get()
    if known is None:
        return entry_points(group=group)
    if group not in known:
        known[group] = entry_points(group=group)
    return known[group]


def _enabled(package: str) -> bool:
    choice = os.environ.get(PLUGINS_VARIABLE)
    if choice is None or _normalised(package) == BUILT_IN:
        return True
    return choice.strip() != "off" and _normalised(package) in {_normalised(name) for name in choice.split(",")}


def _normalised(package: str) -> str:
    return package.strip().lower().replace("_", "-").replace(".", "-")


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"


def _package_names(entries: list[EntryPoint]) -> str:
    return ", ".join(sorted(_package(entry) for entry in entries))


def _import(entry: EntryPoint) -> type[Any]:
    # Third-party code may raise anything while it is imported, sys.exit() included.
    try:
        plugin = entry.load()
    except (Exception, SystemExit) as error:
        raise _BrokenPluginError(_one_line(error)) from error
    problem = _contract_problem(entry, plugin)
    if problem:
        raise _BrokenPluginError(problem)
    return plugin


def _contract_problem(entry: EntryPoint, plugin: Any) -> str | None:
    if not isinstance(plugin, type):
        return f"{entry.value} is not a class"
    if not isinstance(getattr(plugin, "summary", None), str):
        return f"{entry.value} has no `summary` (one line of text)"
    if getattr(plugin, "key", None) != entry.name:
        return f"{entry.value}.key is {getattr(plugin, 'key', None)!r}, but it is registered as {entry.name!r}"
    if entry.group == "geotrap.models":
        # The options of a generator are those of [model]; its sizes are what a profile chooses from.
        presets = getattr(plugin, "presets", None)
        if not isinstance(presets, Mapping):
            return f"{entry.value} has no `presets` (settings by name)"
    elif not hasattr(getattr(plugin, "Config", None), "model_validate_json"):
        return f"{entry.value} has no `Config` (a pydantic model)"
    missing = [name for name in _METHODS[entry.group] if not hasattr(plugin, name)]
    return f"{entry.value} has no `{missing[0]}`" if missing else None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _describe(group: str, entry: EntryPoint) -> PluginInfo:
    rivals = [other for other in _entries(group) if other.name == entry.name]
    summary, error = "", None
    try:
        summary = _summary(_import(entry))
    except _BrokenPluginError as problem:
        error = str(problem)
    if len(rivals) > 1:
        error = f"registered by several packages: {_package_names(rivals)}"
    version = entry.dist.version if entry.dist else "unknown"
    return PluginInfo(entry.name, group, _package(entry), version, summary, error)


def _summary(plugin: Any) -> str:
    text = getattr(plugin, "summary", None) or plugin.__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""


def _unknown(group: str, key: str) -> UsageError:
    return UsageError(f"unknown {_NOUNS[group]} '{key}'", hint=suggestion(key, plugin_keys(group)))
