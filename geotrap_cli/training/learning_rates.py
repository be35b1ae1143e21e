"""``layers.lr_multipliers``: parts of the generator that learn faster or slower than the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from geotrap_cli.errors import UsageError
from geotrap_cli.models.base import Generator
from geotrap_cli.plugins import suggestion


def parameter_groups(
    model: Generator, trained: Mapping[str, nn.Parameter], lr: float, multipliers: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return an optimizer's parameter groups: one for each multiplier that occurs, the plain rate first.

    Args:
        model: The generator.
        trained: What is trained, by name.
        lr: Rate of what no multiplier names.
        multipliers: Factor by unit, or by a prefix of units that ends where a name component ends
            (``unet.down_blocks.4`` means the whole block); the longest that fits a unit counts.

    Raises:
        UsageError: A name fits no unit, or only units that are not trained; all of them are reported at once.
    """
    unit_of = {name: unit for unit, names in model.units().items() for name in names}
    _check(multipliers, set(unit_of.values()), {unit_of[name] for name in trained})
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        groups.setdefault(_factor(unit_of[name], multipliers), []).append(parameter)
    ordered = sorted(groups, key=lambda factor: (factor != 1.0, factor))
    return [{"params": groups[factor], "lr": lr * factor} for factor in ordered]


def _factor(unit: str, multipliers: Mapping[str, float]) -> float:
    fitting = [prefix for prefix in multipliers if _fits(prefix, unit)]
    return multipliers[max(fitting, key=len)] if fitting else 1.0


def _fits(prefix: str, unit: str) -> bool:
    return f"{unit}.".startswith(f"{prefix}.")


def _check(multipliers: Mapping[str, float], units: set[str], trained: set[str]) -> None:
    problems = []
    for prefix in multipliers:
        if not any(_fits(prefix, unit) for unit in units):
            problems.append(f"no unit is called {prefix!r} or begins so, {suggestion(prefix, _names(units))}")
        elif not any(_fits(prefix, unit) for unit in trained):
            problems.append(f"{prefix!r} is not trained")
    if problems:
        raise UsageError("layers.lr_multipliers: " + "; ".join(problems), "`geotrap analyze-layers` lists all units")


def _names(units: set[str]) -> set[str]:
    """Units and everything that one can begin with."""
    return {".".join(unit.split(".")[:count]) for unit in units for count in range(1, unit.count(".") + 2)}
