"""Choosing which units of a generator are trained: names match exactly, never by substring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rapidfuzz import process
from torch import nn

from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator


def select_parameters(
    model: GaussianGenerator, units: Sequence[str], freeze_head: bool, adapted: Collection[str] = ()
) -> dict[str, nn.Parameter]:
    """Make the named units trainable and everything else frozen.

    Args:
        model: The generator.
        units: Exact unit names; empty means all.
        freeze_head: Leave out the head, the last linear maps: a trap hidden there is undone by refitting them.
        adapted: Modules whose own parameters are left out as well: those that the attacker's adapters sit on.

    Returns:
        The trainable parameters by name, in the model's order.

    Raises:
        UsageError: A unit does not exist (every unknown name is reported at once), of a named unit everything is
            frozen, or nothing is left to train.
    """
    known = model.units()
    if unknown := unknown_units(units, known):
        raise UsageError("layers.units: " + "; ".join(unknown))
    frozen = set(model.head_units) if freeze_head else set()
    if contradiction := sorted(frozen.intersection(units)):
        what = f"layers.units names {contradiction[0]}, which layers.freeze_head keeps frozen"
        raise UsageError(what, "Set layers.freeze_head=false, or leave the unit out")
    chosen = {unit: _not_adapted(known[unit], adapted) for unit in (units or known) if unit not in frozen}
    if empty := [unit for unit in units if not chosen[unit]]:
        what = f"layers.units names {empty[0]}, all of which layers.freeze_lora_targets keeps frozen"
        raise UsageError(what, "Set layers.freeze_lora_targets=false, or leave the unit out")
    names = {name for members in chosen.values() for name in members}
    if not names:
        raise UsageError("no layer is left to train", "Name layers.units or set layers.freeze_head=false")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return {name: parameter for name, parameter in model.named_parameters() if name in names}


def _not_adapted(names: Iterable[str], adapted: Collection[str]) -> list[str]:
    return [name for name in names if name.rpartition(".")[0] not in adapted]


def unknown_units(units: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a line for each of ``units`` that is not among ``known``, with the closest that is."""
    choices = list(known)
    return [_suggest(name, choices) for name in units if name not in choices]


def _suggest(name: str, known: list[str]) -> str:
    match = process.extractOne(name, known)
    return f"there is no unit {name!r}" + (f", did you mean {match[0]!r}?" if match else "")
