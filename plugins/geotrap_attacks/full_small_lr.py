"""Full fine-tuning at a small constant rate without the perceptual term."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from geotrap_attacks.full import FullAttack, FullConfig


class FullSmallLrConfig(FullConfig):
    """Options of careful fine-tuning."""

    lr: float = Field(default=5e-5, gt=0, description="Learning rate.")
    schedule: Literal["constant", "linear", "cosine", "wsd", "one_cycle"] = Field(
        default="constant", description="Learning-rate schedule over the attack."
    )


class FullSmallLrAttack(FullAttack):
    """AdamW at 5e-5 on every weight, on colour and silhouette alone."""

    key: ClassVar[str] = "full_small_lr"
    summary: ClassVar[str] = "full fine-tuning at 5e-5, constant, no perceptual term"
    source: ClassVar[str] = "what users of LGM report to work"
    Config: ClassVar[type[FullSmallLrConfig]] = FullSmallLrConfig
    config: FullSmallLrConfig
    perceptual = False
