"""LoRA at several ranks: a defense tuned against one rank may fall to another."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from geotrap_attacks._sweep import Distinct
from geotrap_attacks.lora import LoraAttack, LoraConfig
from geotrap_cli.attacks import Attack, AttackConfig


class LoraRankConfig(AttackConfig):
    """Options of the rank sweep."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    ranks: Distinct[PositiveInt] = Field(default=(4, 8, 16, 32, 64), min_length=1, description="Ranks, one cell each.")
    scale: float = Field(default=2.0, gt=0, description="alpha / rank: an adapter adds scale·B·A to its weight.")


class LoraRankAttack(Attack):
    """LoRA with ranks 4 to 64 at one scale."""

    key: ClassVar[str] = "lora_rank"
    summary: ClassVar[str] = "LoRA at ranks 4 to 64"
    source: ClassVar[str] = "rank sweep of TamperBench; reproductions of IMMA"
    budget: ClassVar[str] = "attack.steps for each rank"
    Config: ClassVar[type[LoraRankConfig]] = LoraRankConfig
    config: LoraRankConfig

    def variants(self) -> dict[str, Attack]:
        """Return one LoRA attack a rank."""
        shared = self.config.model_dump(exclude={"ranks", "scale"})
        return {
            f"{self.key}-{rank}": LoraAttack(LoraConfig(rank=rank, alpha=self.config.scale * rank, **shared))
            for rank in self.config.ranks
        }
