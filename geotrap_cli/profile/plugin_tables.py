"""The parts of a profile that plug-ins define: ``[traps.KEY]``, ``[attack.KEY]``, ``[defense.KEY]``, ``data.kind``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from geotrap_cli.errors import GeotrapError
from geotrap_cli.plugins import build_plugin, load_plugin, parse_config, plugin_keys, suggestion
from geotrap_cli.profile.base import split_names
from geotrap_cli.profile.data_readers import check_reader
from geotrap_cli.profile.layers import Layers
from geotrap_cli.profile.paths import absolute_options
from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import AttackDataTable, AttackTable, DataTable, DefenseTable, ModelTable, TrapTable

BOUNDED_METHODS = ("product", "pairwise")


def check_plugin_tables(layers: Layers, problems: Problems, complete: bool = True) -> dict[str, Any]:
    """The tables of ``layers`` with each plug-in's own settings checked and filled up by its ``Config``.

    With ``complete`` false, what the data set reader requires may still be missing.
    """
    tables = dict(layers.tables)
    if isinstance(tables.get("traps"), Mapping):
        tables["traps"] = _check_traps(tables["traps"], problems)
    if isinstance(stated := tables.get("attack", {}), Mapping):
        tables["attack"] = _check_keyed("attack", stated, AttackTable, "methods", _methods(stated), problems)
    if isinstance(stated := tables.get("defense", {}), Mapping):
        method = stated.get("method", DefenseTable.model_fields["method"].default)
        chosen = [method] if isinstance(method, str) else []
        tables["defense"] = _check_keyed("defense", stated, DefenseTable, "method", chosen, problems)
    _check_model(tables.get("model"), problems)
    tables["data"] = check_reader("data", tables.get("data", {}), DataTable, problems, complete)
    if isinstance(attack := tables.get("attack"), Mapping) and "data" in attack:
        data = check_reader("attack.data", attack["data"], AttackDataTable, problems, complete)
        tables["attack"] = {**attack, "data": data}
    _check_bounds(tables, problems)
    return tables


def _check_traps(traps: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    checked = {}
    for key, table in traps.items():
        dotted = f"traps.{key}"
        if not isinstance(table, Mapping):
            problems.add(dotted, f"expects a table (or false, to take an inherited trap away), got {table!r}")
            continue
        own = {name: value for name, value in table.items() if name in TrapTable.model_fields}
        options = {name: value for name, value in table.items() if name not in own}
        noted = len(problems.lines)
        checked[key] = own | _check_options("geotrap.traps", key, options, dotted, problems)
        if "dynamic" in table and len(problems.lines) == noted:
            _check_attribute(key, checked[key], problems)
    return checked


def _check_attribute(key: str, table: Mapping[str, Any], problems: Problems) -> None:
    """The sensitivity term needs a trap that says what it acts on."""
    from geotrap_cli.traps import attribute_of

    if attribute_of(_build_trap(key, table)) is None:
        problems.add(
            f"traps.{key}.dynamic",
            f"trap '{key}' does not say what it acts on, so it has no sensitivity; "
            "remove the table, or give the trap's class an `attribute`",
        )


def _build_trap(key: str, table: Mapping[str, Any]) -> Any:
    """The trap of a checked table."""
    options = {name: value for name, value in table.items() if name not in TrapTable.model_fields}
    return build_plugin("geotrap.traps", key, options)


def _check_keyed(
    name: str,
    stated: Mapping[str, Any],
    model: type[BaseModel],
    field: str,
    chosen: Iterable[str],
    problems: Problems,
) -> dict[str, Any]:
    """The table ``name`` of attacks or defenses, with the settings of each that is set, or ``chosen`` by ``field``."""
    group = f"geotrap.{name}s"
    known = plugin_keys(group)
    checked = {key: value for key, value in stated.items() if key in model.model_fields}
    for key, table in stated.items():
        if key in checked:
            continue
        if key not in known:
            problems.add_unknown(f"{name}.{key}", [*model.model_fields, *known])
        elif not isinstance(table, Mapping):
            problems.add(f"{name}.{key}", f"expects a table with the settings of this {name}, got {table!r}")
        else:
            checked[key] = _check_options(group, key, table, f"{name}.{key}", problems)
    for key in chosen:
        if key not in stated:
            checked[key] = _check_options(group, key, {}, f"{name}.{field}", problems)
    return checked


def _methods(attack: Mapping[str, Any]) -> list[str]:
    stated = split_names(attack.get("methods", AttackTable.model_fields["methods"].default))
    return [key for key in stated if isinstance(key, str)] if isinstance(stated, list | tuple) else []


def _check_options(
    group: str,
    key: str,
    options: Mapping[str, Any],
    dotted: str,
    problems: Problems,
) -> dict[str, Any]:
    """The plug-in's settings with its defaults, as plain values; as they are when there is a problem with them."""
    try:
        plugin: Any = load_plugin(group, key)
        stated = absolute_options(plugin.Config, options, dotted, problems.layers)
        return parse_config(plugin, stated).model_dump(mode="json", exclude_none=True)
    except GeotrapError as error:
        problems.add(dotted, f"{error.message}; {error.hint}" if error.hint else error.message)
    except ValidationError as error:
        problems.add_validation(error, plugin.Config, dotted.split("."))
    return dict(options)


def _check_model(model: Any, problems: Problems) -> None:
    """The family exists and has a size of the name that is stated."""
    table = model if isinstance(model, Mapping) else {}
    key, known = table.get("family", ModelTable.model_fields["family"].default), plugin_keys("geotrap.models")
    if not isinstance(key, str) or key not in known:
        if isinstance(key, str):
            problems.add("model.family", f"unknown generator '{key}'; {suggestion(key, known)}")
        return
    try:
        presets: Mapping[str, Any] = load_plugin("geotrap.models", key).presets
    except GeotrapError as error:
        problems.add("model.family", f"{error.message}; {error.hint}")
        return
    preset = table.get("preset")
    if isinstance(preset, str) and preset not in presets:
        problems.add("model.preset", f"unknown preset '{preset}' of {key}; {suggestion(preset, presets)}")
    if table.get("old_rotation") and table.get("weights", "shipped") in ("shipped", "random"):
        problems.add_idle("model.old_rotation", "acts on an official file only; remove it")


def _check_bounds(tables: Mapping[str, Any], problems: Problems) -> None:
    """Both bounded methods push the other traps the wrong way once a loss exceeds 1."""
    aggregation, traps = tables.get("aggregation"), tables.get("traps")
    method = aggregation.get("method") if isinstance(aggregation, Mapping) else None
    if method not in BOUNDED_METHODS or not isinstance(traps, Mapping) or problems.lines:
        return
    for key, table in traps.items():
        bound = _build_trap(key, table).upper_bound
        if bound is None or bound > 0:
            problems.add(
                "aggregation.method",
                f"'{method}' needs traps that are bounded above by 0, and trap '{key}' as it is set is not",
            )
