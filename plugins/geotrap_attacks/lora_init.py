"""LoRA with other initial adapters, scales and learning rates than Hu's: each has beaten plain LoRA somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from geotrap_attacks._sweep import Distinct
from geotrap_attacks.lora import LoraAttack, LoraConfig
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.models.generator import GaussianGenerator

Start = Literal["gaussian", "pissa", "olora", "rslora", "loraplus"]
#: Starts that take something out of the weights, so that an adapter alone would not describe the result.
FROM_WEIGHTS = ("pissa", "olora")


class LoraInitConfig(AttackConfig):
    """Options of the sweep over initial adapters."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate; of A under loraplus.")
    alpha: float = Field(default=32.0, gt=0, description="Scale: (alpha / rank)·B·A, under rslora (alpha / √rank)·B·A.")
    ranks: Distinct[PositiveInt] = Field(default=(16, 64), min_length=1, description="Ranks, each with every start.")
    starts: Distinct[Start] = Field(
        default=("gaussian", "pissa", "olora", "rslora", "loraplus"), min_length=1, description="Kinds, one cell each."
    )
    lora_plus_ratio: float = Field(default=16.0, gt=0, description="Learning rate of B over that of A under loraplus.")

    @model_validator(mode="after")
    def _ratio_acts(self) -> LoraInitConfig:
        if "loraplus" not in self.starts:
            self.refuse_idle(["lora_plus_ratio"], "acts under loraplus only, which starts does not name")
        return self


class StartedLora(LoraAttack):
    """LoRA that starts in one of the ways.

    Args:
        config: Options of LoRA.
        start: The way.
        lora_plus_ratio: Learning rate of B over that of A under ``loraplus``.
    """

    key: ClassVar[str] = "lora_init"

    def __init__(self, config: LoraConfig, start: Start, lora_plus_ratio: float) -> None:
        super().__init__(config)
        self.start, self.lora_plus_ratio = start, lora_plus_ratio

    def adapter_options(self) -> dict[str, Any]:
        """Return PEFT's options for the start, as far as it has them for convolutions."""
        options: dict[str, Any] = {"use_rslora": self.start == "rslora"}
        return options | ({"init_lora_weights": "gaussian"} if self.start == "gaussian" else {})

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Inject the adapters and move the leading part of each weight into its adapter where the start asks for it."""
        trained = super().prepare(model)
        if self.start in FROM_WEIGHTS:
            # Imported here: listing attacks should not load PEFT.
            from geotrap_attacks._principal import orthonormal_factors, principal_factors, start_from_weights

            factors = principal_factors if self.start == "pissa" else orthonormal_factors
            start_from_weights(model, self._adapted.active_adapter, factors)
        return trained

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return AdamW, under ``loraplus`` with the larger rate for every B (Hayou et al. 2024)."""
        if self.start != "loraplus":
            return super().optimizer(parameters)
        ups = {id(value) for name, value in self._adapted.named_parameters() if ".lora_B." in name}
        config = self.config
        groups = [
            {"params": [value for value in parameters if id(value) not in ups], "lr": config.lr},
            {"params": [value for value in parameters if id(value) in ups], "lr": config.lr * self.lora_plus_ratio},
        ]
        return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)

    def save(self, model: GaussianGenerator, folder: Path) -> None:
        """Write the adapter, or for a start from the weights the merged model as a diffusers folder."""
        if self.start in FROM_WEIGHTS:
            self._adapted.merge_and_unload()
            Attack.save(self, model, folder)
        else:
            super().save(model, folder)


class LoraInitAttack(Attack):
    """LoRA from gaussian, PiSSA and OLoRA adapters, with rsLoRA's scale and with LoRA+'s learning rates."""

    key: ClassVar[str] = "lora_init"
    summary: ClassVar[str] = "LoRA with gaussian, PiSSA, OLoRA starts, rsLoRA, LoRA+"
    source: ClassVar[str] = (
        "Meng 2024 (PiSSA), Buyukakyuz 2024 (OLoRA), Kalajdzievski 2023 (rsLoRA), Hayou 2024 (LoRA+)"
    )
    budget: ClassVar[str] = "attack.steps for each start and rank"
    Config: ClassVar[type[LoraInitConfig]] = LoraInitConfig
    config: LoraInitConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack a start and rank."""
        config = self.config
        shared = config.model_dump(exclude={"ranks", "starts", "lora_plus_ratio"})
        return {
            f"{self.key}-{start}-{rank}": StartedLora(LoraConfig(rank=rank, **shared), start, config.lora_plus_ratio)
            for start in config.starts
            for rank in config.ranks
        }
