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
        freeze_head: Leave out the head (:data:`HEAD_UNITS`).

    Returns:
        The trainable parameters by name, in the model's order.

    Raises:
        UsageError: A unit does not exist (every unknown name is reported at once), a named unit is part of the frozen
            head, or nothing is left to train.
    """
    known = model.units()
    unknown = [name for name in units if name not in known]
    if unknown:
        raise UsageError("layers.units: " + "; ".join(_suggest(name, list(known)) for name in unknown))
    frozen = set(HEAD_UNITS) if freeze_head else set()
    if contradiction := sorted(frozen.intersection(units)):
        what = f"layers.units names {contradiction[0]}, which layers.freeze_head keeps frozen"
        raise UsageError(what, "Set layers.freeze_head=false, or leave the unit out")
    names = {parameter for unit in (units or known) if unit not in frozen for parameter in known[unit]}
    if not names:
        raise UsageError("no layer is left to train", "Name layers.units or set layers.freeze_head=false")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return {name: parameter for name, parameter in model.named_parameters() if name in names}


def _suggest(name: str, known: list[str]) -> str:
    match = process.extractOne(name, known)
    return f"there is no unit {name!r}" + (f", did you mean {match[0]!r}?" if match else "")
