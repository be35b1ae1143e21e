"""What every table of a profile shares: strict types, no unknown keys, no change after loading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Table(BaseModel):
    """A table of a profile. Types are strict (``steps = "10"`` is an error) and NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PluginConfig(Table):
    """Base of the options of a plug-in."""

    def refuse_idle(self, fields: Iterable[str], why: str) -> None:
        """Refuse options that would do nothing.

        Args:
            fields: Options that have no effect as the others stand. One that holds its default is let pass, so that a
                written-out configuration can be read again.
            why: End of the sentence, e.g. ``"acts in mode 'hybrid' only"``.

        Raises:
            ValueError: One of them was set; pydantic turns it into a validation error that names the table.
        """
        defaults = {name: type(self).model_fields[name].get_default() for name in fields}
        idle = [name for name, default in defaults.items() if getattr(self, name) != default]
        if idle:
            raise ValueError(f"{', '.join(idle)} {why}")


class PluginTable(Table):
    """A table whose inner tables hold the settings of one plug-in each."""

    model_config = ConfigDict(extra="allow")

    def options(self, key: str) -> dict[str, Any]:
        """The settings of the plug-in ``key``: the fields of its own ``Config``; empty when it is not configured."""
        return dict((self.model_extra or {}).get(key, {}))


class ReaderTable(Table):
    """A table that names a data set reader, whose settings its inner table ``kind`` holds."""

    model_config = ConfigDict(extra="allow")

    kind: str

    def options(self) -> dict[str, Any]:
        """The settings of the reader in its own table; empty when it has none."""
        return dict((self.model_extra or {}).get(self.kind, {}))


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse values of which one is named twice.

    Raises:
        ValueError: One is; pydantic turns it into a validation error.
    """
    if len(set(values)) != len(values):
        raise ValueError("a value is named twice")
    return values


def split_names(value: Any) -> Any:
    """Accept ``knife,hammer`` for ``["knife", "hammer"]``: quotes and brackets are a burden in a shell."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    # What comes through a function is no longer JSON, where a strict table takes a list for a tuple.
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(split_names)]
"""A list of names; a string is split at its commas."""

FilePath = Annotated[Path, Field(strict=False)]
"""A path; the loader has made it absolute."""


def join_keys(value: Any) -> Any:
    """Turn tables in a table into dotted keys, ``{"unet": {"conv_in": 2.0}}`` into ``{"unet.conv_in": 2.0}``.

    ``--set table.unet.conv_in=2.0`` and unquoted keys of a profile come in the first form.
    """
    if not isinstance(value, Mapping):
        return value
    joined: dict[str, Any] = {}
    for key, item in value.items():
        inner = join_keys(item)
        parts = {f"{key}.{name}": part for name, part in inner.items()} if isinstance(inner, Mapping) else {key: inner}
        joined |= parts
    return joined


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A decay rate of AdamW's moments."""

Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Multipliers = Annotated[dict[str, Positive], BeforeValidator(join_keys)]
"""Factors by dotted name."""

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
