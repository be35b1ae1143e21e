"""Choosing which units of a generator are trained: names match exactly, never by substring."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import process
from torch import nn

from geotrap_cli.errors import UsageError
from geotrap_cli.models.base import Generator

#: The last linear maps before the activations; a trap hidden here is undone by refitting 14 channels.
HEAD_UNITS = ("unet.conv_out", "conv")


def select_parameters(model: Generator, units: Sequence[str], freeze_head: bool) -> dict[str, nn.Parameter]:
    """Make the named units trainable and everything else frozen.

    Args:
        model: The generator.
        units: Exact unit names; empty means all.
        freeze_head: Leave out the head, also where it is named by "all".

    Returns:
        The trainable parameters by name, in the model's order.

    Raises:
        UsageError: A unit does not exist, or nothing is left to train; every unknown name is reported at once.
    """
    known = model.units()
    unknown = [name for name in units if name not in known]
    if unknown:
        raise UsageError("layers.units: " + "; ".join(_suggest(name, list(known)) for name in unknown))
    chosen = [name for name in (units or known) if not (freeze_head and name in HEAD_UNITS)]
    names = {parameter for unit in chosen for parameter in known[unit]}
    selected = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        if name in names:
            selected[name] = parameter
    if not selected:
        raise UsageError("no layer is left to train", "Name other layers.units or set layers.freeze_head=false")
    return selected


def _suggest(name: str, known: list[str]) -> str:
    match = process.extractOne(name, known)
    return f"there is no unit {name!r}" + (f", did you mean {match[0]!r}?" if match else "")
