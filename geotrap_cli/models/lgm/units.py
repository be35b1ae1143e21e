"""Units: the grain at which the layers of LGM are compared, chosen, frozen and reset.

A residual block is one unit; an attention is three (``norm``, ``attn.qkv``, ``attn.proj``); every other module
with parameters is one. A parameter belongs to a unit by the components of its name, never by substring, and the
parameters that an adapter adds inside a module belong to that module's unit.
"""

from __future__ import annotations

from typing import Final, Literal

from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.generator import UnitPlace

LEAVES: Final = frozenset({"conv_in", "downsample", "upsample", "norm", "qkv", "proj", "norm_out", "conv_out", "conv"})
"""Last name components of the units that are not residual blocks."""

PARTS: Final[dict[str, Literal["down", "mid", "up"]]] = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}
"""The name component of each part of the U-Net."""


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


def place_of(unit: str) -> UnitPlace:
    """Where a unit lies: ``unet.down_blocks.N``, ``unet.mid_block`` and ``unet.up_blocks.N`` are the blocks."""
    parts = unit.split(".")
    for position, name in enumerate(parts):
        if name in PARTS:
            end = position + (1 if name == "mid_block" else 2)
            return UnitPlace(PARTS[name], ".".join(parts[:end]), "attns" in parts)
    return UnitPlace()
