"""Head attack: train the last convolution only."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator


class HeadConfig(AttackConfig):
    """Options of the head attack."""

    bias: bool = Field(True, description="Train the bias too.")


class HeadAttack(Attack):
    """AdamW on the 1x1 output convolution; all else stays frozen."""

    key: ClassVar[str] = "head"
    summary: ClassVar[str] = "train the output convolution only"
    Config: ClassVar[type[AttackConfig]] = HeadConfig
    config: HeadConfig

    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        """Freeze everything but the head."""
        model.requires_grad_(False)
        trained = {f"conv.{name}": value for name, value in model.conv.named_parameters()}
        if not self.config.bias:
            trained.pop("conv.bias", None)
        for parameter in trained.values():
            parameter.requires_grad_(True)
        return trained

    def save(self, model: LGM, folder: Path) -> None:
        """Write the attacked model as a diffusers folder."""
        save_generator(model, folder)
