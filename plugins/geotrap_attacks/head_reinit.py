"""A fresh head on the released trunk, then full fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch import nn

from geotrap_attacks._surgery import last_layer, pass_on, reinitialise
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.lgm.model import LGM

Init = Literal["random", "identity"]


class HeadReinitConfig(AttackConfig):
    """Options of the attack by a fresh head."""

    inits: Distinct[Init] = Field(
        default=("random", "identity"),
        min_length=1,
        description="random: PyTorch's fresh weights for conv_out and conv; identity: the 1x1 conv passes its input on "
        "and conv_out stays. Each is a cell of its own.",
    )


class HeadReinitAttack(Attack):
    """Throw the head away and train a fresh one with the trunk: a trap in the head is gone at no cost.

    ``random`` replaces ``unet.conv_out`` and ``conv``; ``identity`` only the 210 weights of the 1x1 ``conv``. In a
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

    def edit(self, model: LGM, context: AttackContext) -> None:
        """Replace the head."""
        _, init = chosen(self, "inits")
        if init == "random":
            reinitialise([model.unet.conv_out, model.conv], context.seed)
        elif not isinstance(model.conv, nn.Identity):
            pass_on(last_layer(model))
