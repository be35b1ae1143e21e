"""Taking one unit out of an attack: freezing it, re-initialising it before, or rolling it back afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geotrap_cli.attacks import Attack
from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.fresh import fresh_weights
from geotrap_cli.models.generator import GaussianGenerator

FREEZE, RESET, ROLLBACK = "freeze", "reset", "rollback"
_RESET = 1
_WRAPPED = ".base_layer"
"""What PEFT puts into the name of a weight beside which it adds an adapter."""


class Held:
    """An attack that leaves one unit alone; all else is the attack itself.

    Args:
        attack: The attack.
        unit: The unit that gets no update; None: none, and the attack is only watched.
    """

    def __init__(self, attack: Attack, unit: str | None) -> None:
        self._attack, self._unit = attack, unit
        self.began: dict[str, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        # A copy asks for its private attributes before it has any.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._attack, name)

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Prepare the attack, hold the unit's parameters, and note where they and all adapters begin."""
        known = {name for name, _ in model.named_parameters()}
        trained = self._attack.prepare(model)
        self.began = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if in_unit(model, name, self._unit) or plain_name(name) not in known
        }
        held = {name for name in trained if in_unit(model, name, self._unit)}
        for name in held:
            trained[name].requires_grad_(False)
        return {name: parameter for name, parameter in trained.items() if name not in held}

    def check_held(self, model: GaussianGenerator) -> None:
        """Check that the attack, however it updates weights, did not move the unit.

        Raises:
            GeotrapError: It did.
        """
        for name, parameter in model.named_parameters():
            before = self.began.get(name)
            if before is not None and in_unit(model, name, self._unit) and not torch.equal(before, parameter):
                raise GeotrapError(
                    f"the attack {self._attack.key} moved {self._unit}, which was frozen",
                    hint="Use --causal-action rollback, or another attack",
                )


def in_unit(model: GaussianGenerator, parameter: str, unit: str | None) -> bool:
    """Whether a parameter, or what an adapter added beside it, belongs to ``unit``."""
    try:
        return unit is not None and model.unit_of(parameter) == unit
    except GeotrapError:
        # An attack may train what it added outside of the generator's own units.
        return False


def plain_name(parameter: str) -> str:
    """The name that a parameter had before an adapter was put beside it."""
    return parameter.replace(_WRAPPED, "")


def reset_unit(model: GaussianGenerator, unit: str, seed: int) -> None:
    """Give the parameters of ``unit`` the values of a freshly made generator, in place."""
    # Not the seed itself: random weights that were made with it would come out as they are.
    own = int(np.random.default_rng([seed, _RESET]).integers(2**62))
    fresh = fresh_weights(model, own)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if in_unit(model, name, unit):
                parameter.copy_(fresh[name])


def roll_back(model: GaussianGenerator, unit: str, released: Mapping[str, Tensor], began: Mapping[str, Tensor]) -> None:
    """Give ``unit`` the values it had before the attack, in place; an adapter's go back to where they began.

    Args:
        model: The attacked model.
        unit: The unit.
        released: The parameters before the attack, by name.
        began: The parameters when the attack was prepared, its adapters included, by name.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if in_unit(model, name, unit):
                plain = plain_name(name)
                parameter.copy_(released[plain] if plain in released else began[name])
