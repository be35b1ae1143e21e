"""Full fine-tuning: every weight of the released model is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.models.lgm.model import LGM


class FullConfig(AttackConfig):
    """Options of full fine-tuning."""

    lr: float = Field(default=1e-4, gt=0, description="Peak learning rate.")


class FullAttack(Attack):
    """AdamW on all weights, as LGM itself is trained."""

    key: ClassVar[str] = "full"
    summary: ClassVar[str] = "full fine-tuning: AdamW on every weight"
    Config: ClassVar[type[AttackConfig]] = FullConfig

    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        """Make every parameter trainable."""
        model.requires_grad_(True)
        return dict(model.named_parameters())

    def save(self, model: LGM, folder: Path) -> None:
        """Write the attacked model as a diffusers folder."""
        # Imported here: listing attacks should not load diffusers.
        from geotrap_cli.models.loading import save_generator

        save_generator(model, folder)
