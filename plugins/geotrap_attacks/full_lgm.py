"""Full fine-tuning by the recipe with which LGM itself is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from geotrap_attacks.full import FullAttack, FullConfig


class FullLgmConfig(FullConfig):
    """LGM's recipe."""

    lr: float = Field(default=4e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=0.05, ge=0, description="Decoupled weight decay of AdamW.")
    schedule: Literal["constant", "linear", "cosine", "wsd", "one_cycle"] = Field(
        default="one_cycle", description="Learning-rate schedule over the attack."
    )
    warmup_steps: int = Field(default=30, ge=0, description="Steps over which the learning rate rises.")


class FullLgmAttack(FullAttack):
    """AdamW at 4e-4 with weight decay and a one-cycle schedule on every weight."""

    key: ClassVar[str] = "full_lgm"
    summary: ClassVar[str] = "full fine-tuning by LGM's own recipe (4e-4, one cycle)"
    source: ClassVar[str] = "training code of LGM (Tang et al. 2024)"
    Config: ClassVar[type[FullLgmConfig]] = FullLgmConfig
    config: FullLgmConfig
