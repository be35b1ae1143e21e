"""Full fine-tuning: every weight of the released model is trained."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from geotrap_cli.attacks import Attack, AttackConfig


class FullConfig(AttackConfig):
    """Options of full fine-tuning."""

    lr: float = Field(default=1e-4, gt=0, description="Peak learning rate.")


class FullAttack(Attack):
    """AdamW on all weights, as LGM itself is trained."""

    key: ClassVar[str] = "full"
    summary: ClassVar[str] = "full fine-tuning: AdamW on every weight"
    source: ClassVar[str] = "the usual fine-tuning; optimizer of LGM (Tang et al. 2024)"
    Config: ClassVar[type[AttackConfig]] = FullConfig
