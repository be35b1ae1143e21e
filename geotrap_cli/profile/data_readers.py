"""The data set readers that ``[data]`` and ``[attack.data]`` name, and their own settings, ``[data.KEY]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from geotrap_cli.errors import GeotrapError
from geotrap_cli.plugins import load_plugin, parse_config, plugin_keys, suggestion
from geotrap_cli.profile.model_tables import DataTable
from geotrap_cli.profile.paths import absolute_options
from geotrap_cli.profile.problems import Problems

READER_FIELDS = ("root", "objects_per_category", "cache")
"""Fields of ``[data]`` that only the data set reader reads; the others act whatever the reader is."""
_PASSED_ON = (*READER_FIELDS, "seed", "size")
"""Settings of readers that do not stand in their own table, because the program or ``[data]`` states them."""


def check_reader(
    dotted: str, table: Any, model: type[BaseModel], problems: Problems, complete: bool
) -> dict[str, Any] | Any:
    """Return the table ``dotted`` with its reader and the reader's settings checked.

    The reader exists, gets what it requires, and reads what the profile states for it. With ``complete`` false, what it
    requires may still be missing.
    """
    if not isinstance(table, Mapping):
        return table
    kind, known = table.get("kind", DataTable.model_fields["kind"].default), plugin_keys("geotrap.datasets")
    checked = _without_strangers(dotted, table, model, known, problems)
    if not isinstance(kind, str) or kind not in known:
        if isinstance(kind, str):
            problems.add(f"{dotted}.kind", f"unknown data set '{kind}'; {suggestion(kind, known)}")
        return checked
    try:
        reader: Any = load_plugin("geotrap.datasets", kind)
    except GeotrapError as error:
        problems.add(f"{dotted}.kind", f"{error.message}; {error.hint}")
        return checked
    _check_fields(dotted, table, kind, reader, problems, complete)
    for key in [key for key in checked if key in known]:
        if key != kind:
            problems.add_idle(f"{dotted}.{key}", f"{dotted}.kind is '{kind}'; remove it")
        elif isinstance(checked[key], Mapping):
            checked[key] = _check_options(f"{dotted}.{key}", checked[key], table, reader, problems)
        else:
            problems.add(f"{dotted}.{key}", f"expects a table with the settings of this reader, got {checked[key]!r}")
    return checked


def _without_strangers(
    dotted: str, table: Mapping[str, Any], model: type[BaseModel], known: list[str], problems: Problems
) -> dict[str, Any]:
    """The table without keys that are neither fields nor readers; each is noted."""
    checked = {}
    for key, value in table.items():
        if key in model.model_fields or key in known:
            checked[key] = value
        else:
            problems.add_unknown(f"{dotted}.{key}", [*model.model_fields, *known])
    return checked


def _check_fields(
    dotted: str, table: Mapping[str, Any], kind: str, reader: Any, problems: Problems, complete: bool
) -> None:
    fields: Mapping[str, Any] = reader.Config.model_fields
    if table.get("workers") and not hasattr(reader, "prepare"):
        problems.add(f"{dotted}.workers", f"data set '{kind}' renders nothing beforehand; remove it")
    for name in READER_FIELDS:
        if complete and name in fields and fields[name].is_required() and name not in table:
            problems.add(f"{dotted}.{name}", f"data set '{kind}' needs it; add --set {dotted}.{name}=...")
        if name not in fields and table.get(name) is not None:
            problems.add_idle(f"{dotted}.{name}", f"data set '{kind}' does not read it; remove it")


def _check_options(
    dotted: str, options: Mapping[str, Any], table: Mapping[str, Any], reader: Any, problems: Problems
) -> dict[str, Any]:
    """The reader's own settings, as plain values; as they are when there is a problem with them."""
    fields = reader.Config.model_fields
    own = [name for name in fields if name not in _PASSED_ON]
    strangers = [name for name in options if name not in own]
    for name in strangers:
        problems.add_unknown(f"{dotted}.{name}", own)
    stated = absolute_options(reader.Config, options, dotted, problems.layers)
    # What the reader requires beside its own settings is checked with the table around them.
    required = {name: table.get(name, ".") for name in READER_FIELDS if name in fields and fields[name].is_required()}
    if strangers:
        return dict(options)
    try:
        parsed = parse_config(reader, {**required, **stated}).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        problems.add_validation(error, reader.Config, dotted.split("."))
        return dict(options)
    return {name: parsed[name] for name in stated if name in parsed}
