"""Units: the grain at which the layers of LGM are compared, chosen, frozen and reset.

A residual block is one unit; an attention is three (``norm``, ``attn.qkv``, ``attn.proj``); every other module
with parameters is one. A parameter belongs to a unit by the components of its name, never by substring, and the
parameters that an adapter adds inside a module belong to that module's unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from geotrap_cli.errors import GeotrapError

LEAVES: Final = frozenset({"conv_in", "downsample", "upsample", "norm", "qkv", "proj", "norm_out", "conv_out", "conv"})
"""Last name components of the units that are not residual blocks."""


def unit_of(parameter: str) -> str:
    """The unit that the parameter called ``parameter`` belongs to.

    Raises:
        GeotrapError: When the name is not one of an LGM parameter.
    """
    parts = parameter.split(".")
    for position, part in enumerate(parts[:-1]):
        if part == "nets":
            return ".".join(parts[: position + 2])
        if part in LEAVES:
            return ".".join(parts[: position + 1])
    raise GeotrapError(f"Parameter {parameter} belongs to no unit of LGM")


def group_by_unit(parameters: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names by unit, both in the order given.

    Raises:
        GeotrapError: When a name is not one of an LGM parameter.
    """
    units: dict[str, list[str]] = {}
    for name in parameters:
        units.setdefault(unit_of(name), []).append(name)
    return units
