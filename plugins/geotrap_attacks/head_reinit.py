"""A fresh head on the released trunk, then full fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from geotrap_attacks._surgery import last_layer, pass_on, reinitialise
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

Init = Literal["random", "identity"]


class HeadReinitConfig(AttackConfig):
    """Options of the attack by a fresh head."""

    inits: Distinct[Init] = Field(
        default=("random", "identity"),
        min_length=1,
        description="random: fresh weights for every convolution of the head; identity: the 1x1 that ends it passes "
        "its input on and the one before stays. Each is a cell of its own.",
    )


class HeadReinitAttack(Attack):
    """Throw the head away and train a fresh one with the trunk: a trap in the head is gone at no cost.

    ``random`` replaces all convolutions of the head; ``identity`` only the 1x1 that ends it (210 weights in LGM). In a
    fused head that is the identity already, so there the variant is plain full fine-tuning.
    """

    key: ClassVar[str] = "head_reinit"
    summary: ClassVar[str] = "a fresh head (random or identity), then full fine-tuning"
    source: ClassVar[str] = "SOPHON (Deng et al. 2024), re-initialised last layer"
    budget: ClassVar[str] = "attack.steps; the new head costs nothing"
    Config: ClassVar[type[AttackConfig]] = HeadReinitConfig
    config: HeadReinitConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each initialisation."""
        return expand(self, inits=str)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Replace the head."""
        _, init = chosen(self, "inits")
        if init == "random":
            members = model.units()
            reinitialise(model, [name for unit in model.head_units for name in members[unit]], context.seed)
        elif len(model.head_units) > 1:
            pass_on(last_layer(model))
