"""Reset the units that seem to carry the trap, then full fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, model_validator

from geotrap_attacks._health_terms import health_levels
from geotrap_attacks._public import matching_public
from geotrap_attacks._surgery import reinitialise
from geotrap_attacks._sweep import Distinct, expand
from geotrap_cli.attacks import Attack, AttackConfig, AttackSetting, Sampler
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.plugins import suggestion
from geotrap_cli.profile.base import FilePath, Names
from geotrap_cli.sensitivity.gradients import Array, UnitParameters, gradient_norms

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext

TINY = 1e-12


class UnitResetConfig(AttackConfig):
    """Options of the attack that resets units."""

    counts: Distinct[Annotated[int, Field(ge=1)]] = Field(
        default=(1, 3, 10), min_length=1, description="Numbers of units to reset; each is a cell of its own."
    )
    units: Names = Field(default=(), description="Units to reset, in place of those that rank first.")
    objects: int = Field(default=8, ge=1, description="Target objects, and source objects, by which units are ranked.")
    public: FilePath | None = Field(
        default=None,
        description="Public weights of the same architecture to roll the units back to; random ones where none.",
    )

    @model_validator(mode="after")
    def _options_act(self) -> UnitResetConfig:
        if self.units:
            self.refuse_idle(["counts", "objects"], "rank units, and units names them")
        return self


class UnitResetAttack(Attack):
    """Give the k units that tell target from source most fresh weights, then train every weight.

    The attacker has no weights from before the defense, so units are ranked on the released ones: for each level that
    traps lower (spread, opacity, roundness, ...), the mean over single objects of the norm of its gradient to the
    unit, target over source; of these ratios the geometric mean over the levels that have a gradient on both. This is
    the quantity by which a defender chooses layers. Units may also be named.
    """

    key: ClassVar[str] = "unit_reset"
    summary: ClassVar[str] = "the k most target-specific units reset, then full fine-tuning"
    source: ClassVar[str] = "layer reset; side-door null"
    assumes: ClassVar[str] = "the released weights, the defense's method, target objects and public source objects"
    budget: ClassVar[str] = "attack.steps; ranking costs seven backward passes an object"
    Config: ClassVar[type[AttackConfig]] = UnitResetConfig
    config: UnitResetConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each number of units, or one for the named units."""
        return {f"{self.key}-named": self} if self.config.units else expand(self, counts=str)

    def misfit(self, setting: AttackSetting) -> str | None:
        """Units that are ranked have to be there."""
        wanted = 0 if self.config.units else self.config.counts[0]
        return f"{wanted} of {setting.units} units" if wanted > setting.units else None

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Reset the units.

        Raises:
            UsageError: A named unit does not exist, more units are wanted than there are, or public weights do not fit.
        """
        members = [name for unit in self._units(model, context) for name in model.units()[unit]]
        if self.config.public is None:
            reinitialise(model, members, context.seed)
            return
        public = matching_public(self.config.public, "attack.unit_reset.public", model)
        with torch.no_grad():
            for name in members:
                model.get_parameter(name).copy_(public[name])

    def _units(self, model: GaussianGenerator, context: AttackContext) -> list[str]:
        known = list(model.units())
        for unit in self.config.units:
            if unit not in known:
                raise UsageError(f"attack.unit_reset.units: there is no unit {unit!r}", suggestion(unit, known))
        if self.config.units:
            return list(self.config.units)
        count = self.config.counts[0]
        if count > len(known):
            raise UsageError(f"attack.unit_reset.counts: {count} of {len(known)} units", "Lower it")
        return rank_units(model, context, self.config.objects)[:count]


def rank_units(model: GaussianGenerator, context: AttackContext, objects: int) -> list[str]:
    """Names of all units, the most target-specific first; ties keep the order of the network.

    Args:
        model: The released weights.
        context: Where target and source objects come from.
        objects: Objects of each kind.

    Raises:
        GeotrapError: No level has a gradient on both kinds of objects.
    """
    names = list(model.units())
    target, source = (_mean_norms(model, sampler, objects) for sampler in (context.target, context.source))
    # A level without any gradient on one side says nothing about which unit it comes from.
    felt = [level for level in target if target[level].any() and source[level].any()]
    if not felt:
        raise GeotrapError("attack.unit_reset: no level of health has a gradient to rank by", "Name units instead")
    ratios = [_log_shares(target[level]) - _log_shares(source[level]) for level in felt]
    return [names[index] for index in np.argsort(-np.mean(ratios, axis=0), kind="stable")]


def _log_shares(norms: Array) -> Array:
    """Log of each unit's share of the norms; shares instead of norms change no order, and bound that of a dead unit."""
    return np.log(norms / norms.sum() + TINY)


def _mean_norms(model: GaussianGenerator, sampler: Sampler, objects: int) -> dict[str, Array]:
    """Mean over objects of each level's gradient norm, [units] per level."""
    parameters = UnitParameters.of(model, model.units())
    seen: dict[str, list[Array]] = {}
    for step in range(objects):
        batch = sampler(step, 1)
        levels = health_levels(model.forward_gaussians(batch.images))
        scalars = {name: [level.sum()] for name, level in levels.items()}
        for name, norms in gradient_norms(scalars, parameters, batch.ids[0]).items():
            seen.setdefault(name, []).append(norms)
    return {name: np.mean(rows, axis=0) for name, rows in seen.items()}
