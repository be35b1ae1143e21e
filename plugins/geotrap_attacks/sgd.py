"""Full fine-tuning with SGD and momentum: what holds against normalised steps need not hold against plain ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from geotrap_cli.attacks import Attack, ScheduleConfig


class SgdConfig(ScheduleConfig):
    """Options of SGD."""

    lr: float = Field(default=0.01, gt=0, description="Peak learning rate.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty.")


class SgdAttack(Attack):
    """SGD with momentum on every weight."""

    key: ClassVar[str] = "sgd"
    summary: ClassVar[str] = "full fine-tuning with SGD and momentum"
    source: ClassVar[str] = "one of the optimizers of SOPHON (Deng et al. 2024)"
    Config: ClassVar[type[SgdConfig]] = SgdConfig
    config: SgdConfig

    def needs_whole_weights(self) -> str | None:
        """None: the optimizer moves each value by its own gradients."""
        return None

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return SGD."""
        config = self.config
        return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)
