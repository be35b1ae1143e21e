"""Which units the attacker's adapter trains, and which lie in a block without attention.

Reach is not guessed from names: the configured attack prepares a copy of the model that holds no numbers, and what it
would train is read off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from geotrap_cli.attacks import Attack
from geotrap_cli.models.generator import GaussianGenerator, UnitPlace
from geotrap_cli.plugins import build_plugin
from geotrap_cli.sensitivity.interventions import in_unit


def reached_units(model: GaussianGenerator, options: dict[str, Any], attack: str = "lora") -> frozenset[str]:
    """Units in which ``attack`` trains at least one parameter of its own or of the model.

    Args:
        model: The generator; it is left alone.
        options: The attack's settings, fields of its ``Config``; defaults where it is empty.
        attack: Key of the group ``geotrap.attacks``.

    Raises:
        UsageError: The attack does not exist, or its settings do not fit the model.
    """
    return trained_units(model, build_plugin("geotrap.attacks", attack, options))


def trained_units(model: GaussianGenerator, attack: Attack) -> frozenset[str]:
    """Units in which ``attack`` trains something; what it adds outside of all units belongs to none.

    Args:
        model: The generator; it is left alone.
        attack: The attack; it is prepared on another model and should not be used afterwards.
    """
    # The attack draws its initialisation, even of numbers that are not stored, from the global generator.
    with torch.random.fork_rng(devices=()), torch.device("meta"):
        trained = attack.prepare(type(model).from_config(model.config))
    return frozenset(unit for unit in model.units() if any(in_unit(model, name, unit) for name in trained))


def units_without_attention(units: Iterable[str], place: Callable[[str], UnitPlace]) -> frozenset[str]:
    """Units inside a block that has no attention; what lies outside the blocks is not among them.

    Args:
        units: All units of a generator.
        place: Says where each lies.
    """
    places = {unit: place(unit) for unit in units}
    attending = {where.block for where in places.values() if where.attention}
    return frozenset(unit for unit, where in places.items() if where.block and where.block not in attending)
