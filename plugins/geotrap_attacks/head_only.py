"""Training the last linear maps alone: the cheapest way to undo what sits in front of the activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from pydantic import Field
from torch import nn

from geotrap_attacks._sweep import Distinct
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackSetting
    from geotrap_cli.models.generator import GaussianGenerator

Head = Literal["conv", "conv_out"]
#: Layers behind the first of the head, and all of them.
LAYERS: Final[dict[Head, slice]] = {"conv": slice(1, None), "conv_out": slice(None)}


class HeadOnlyConfig(AttackConfig):
    """Options of training the head."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    heads: Distinct[Head] = Field(
        default=("conv", "conv_out"),
        min_length=1,
        description="How much of the head, one cell each: the 1x1 convolution, or with it the one before.",
    )


class HeadAttack(Attack):
    """AdamW on the head.

    Args:
        config: Options.
        head: How much of it.
    """

    key: ClassVar[str] = "head_only"

    def __init__(self, config: HeadOnlyConfig, head: Head) -> None:
        super().__init__(config)
        self.head = head

    def misfit(self, setting: AttackSetting) -> str | None:
        """A head that is fused has no 1x1 convolution."""
        if range(setting.head_layers)[LAYERS[self.head]]:
            return None
        return "the head of this generator is fused, so there is no 1x1 convolution to train"

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Freeze all but the head."""
        members = model.units()
        names = {name for unit in model.head_units[LAYERS[self.head]] for name in members[unit]}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        return {name: parameter for name, parameter in model.named_parameters() if name in names}


class HeadOnlyAttack(Attack):
    """The 1x1 convolution alone, then with the convolution before it."""

    key: ClassVar[str] = "head_only"
    summary: ClassVar[str] = "the last one or two convolutions alone"
    source: ClassVar[str] = "linear probing"
    budget: ClassVar[str] = "attack.steps for each size of the head"
    Config: ClassVar[type[HeadOnlyConfig]] = HeadOnlyConfig
    config: HeadOnlyConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack a size of the head."""
        return {f"{self.key}-{head}": HeadAttack(self.config, head) for head in self.config.heads}
