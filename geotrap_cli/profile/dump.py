"""A resolved profile as TOML, each value with its origin, in a form that loads back to the same profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from geotrap_cli.profile.schema import Profile


def dump_toml(profile: Profile, origins: Mapping[str, str] | None = None) -> str:
    """``profile`` as TOML text; with ``origins``, each line ends in a comment that says where its value came from."""
    lines: list[str] = []
    for name, table in profile.tables().items():
        _add_table(lines, name, table, origins or {})
    return "\n".join(lines).lstrip("\n") + "\n"


def _add_table(lines: list[str], dotted: str, table: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    values = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if values or not inner:
        lines.extend(["", f"[{_dotted_key(dotted)}]"])
    for key, value in values.items():
        origin = origins.get(f"{dotted}.{key}")
        line = f"{_key(key)} = {_value(value)}"
        lines.append(f"{line}  # {origin}" if origin else line)
    for key, value in inner.items():
        _add_table(lines, f"{dotted}.{key}", value, origins)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")


def _dotted_key(dotted: str) -> str:
    return ".".join(_key(part) for part in dotted.split("."))
