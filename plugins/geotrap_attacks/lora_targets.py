"""LoRA on attention alone, on every layer, and on convolutions alone."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import Field

from geotrap_attacks._sweep import Distinct
from geotrap_attacks.lora import GROUPS, Group, LoraAttack, LoraConfig
from geotrap_cli.attacks import Attack, AttackConfig

Choice = Literal["attention", "all", "conv"]

CHOICES: Final[dict[Choice, tuple[Group, ...]]] = {"attention": ("attention",), "all": GROUPS, "conv": ("conv",)}


class LoraTargetsConfig(AttackConfig):
    """Options of the sweep over adapted layers."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    rank: int = Field(default=16, ge=1, description="Rank of every adapter.")
    alpha: float = Field(default=32.0, gt=0, description="Scale: an adapter adds (alpha / rank)·B·A to its weight.")
    groups: Distinct[Choice] = Field(
        default=("attention", "all", "conv"), min_length=1, description="Layers with adapters, one cell each."
    )


class LoraTargetsAttack(Attack):
    """LoRA on three choices of layers."""

    key: ClassVar[str] = "lora_targets"
    summary: ClassVar[str] = "LoRA on attention, on all layers, on convolutions"
    source: ClassVar[str] = "reproductions of IMMA, whose verdict depends on the adapted layers"
    budget: ClassVar[str] = "attack.steps for each choice of layers"
    Config: ClassVar[type[LoraTargetsConfig]] = LoraTargetsConfig
    config: LoraTargetsConfig

    def variants(self) -> dict[str, Attack]:
        """Return one LoRA attack a choice of layers."""
        shared = self.config.model_dump(exclude={"groups"})
        variants: dict[str, Attack] = {}
        for choice in self.config.groups:
            variants[f"{self.key}-{choice}"] = attack = LoraAttack(LoraConfig(**shared))
            attack.groups = CHOICES[choice]
        return variants
