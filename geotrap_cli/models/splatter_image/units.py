"""Units of Splatter Image: a residual block without its attention, each layer of an attention, every other layer."""

from __future__ import annotations

from typing import Final

from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.generator import UnitPlace

NETWORK: Final = "network_with_offset"
ENCODER: Final = f"{NETWORK}.encoder"
OUT: Final = f"{NETWORK}.out"
ATTENTION: Final = frozenset({"norm2", "qkv", "proj"})


def unit_of(parameter: str) -> str:
    """The unit that the parameter called ``parameter`` belongs to.

    Raises:
        GeotrapError: When the name is not one of a Splatter Image parameter.
    """
    if parameter.startswith(f"{OUT}."):
        return OUT
    parts = parameter.removeprefix(f"{ENCODER}.").split(".")
    if not parameter.startswith(f"{ENCODER}.") or len(parts) < 3 or parts[0] not in ("enc", "dec"):
        raise GeotrapError(f"Parameter {parameter} belongs to no unit of Splatter Image")
    inside = 3 if parts[2] in ATTENTION else 2
    return ".".join([ENCODER, *parts[:inside]])


def place_of(unit: str) -> UnitPlace:
    """Where a unit lies: the blocks of one resolution on one side are a block."""
    side, _, rest = unit.removeprefix(f"{ENCODER}.").partition(".")
    resolution, _, kind = rest.partition("_")
    if side not in ("enc", "dec") or kind == "conv" or kind.startswith("aux"):
        return UnitPlace()
    attends = unit.rpartition(".")[2] in ATTENTION
    if kind.startswith("in"):
        return UnitPlace("mid", f"{ENCODER}.dec.{resolution}_in", attends)
    return UnitPlace("down" if side == "enc" else "up", f"{ENCODER}.{side}.{resolution}", attends)
