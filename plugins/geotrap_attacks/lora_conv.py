"""LoRA on convolutions alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from geotrap_attacks.lora import Group, LoraAttack, LoraConfig
from geotrap_cli.profile.base import Names


class LoraConvConfig(LoraConfig):
    """Options of LoRA on convolutions."""

    targets: Names | None = Field(
        default=None,
        min_length=1,
        description="Last name components of the modules that get an adapter; unset: every convolution outside of "
        "attention but the 1x1 that ends the head.",
    )


class LoraConvAttack(LoraAttack):
    """Adapters on convolutions, where most of LGM's weights are."""

    key: ClassVar[str] = "lora_conv"
    summary: ClassVar[str] = "LoRA adapters on convolutions alone (PEFT)"
    source: ClassVar[str] = "reproductions of IMMA; convolution adapters of PEFT"
    Config: ClassVar[type[LoraConvConfig]] = LoraConvConfig
    config: LoraConvConfig
    groups: tuple[Group, ...] = ("conv",)
