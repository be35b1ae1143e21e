"""What an attack is: which parameters it trains, with which optimizer and extra terms. The loop is shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from geotrap_cli.training.schedules import ScheduleFactor, make_schedule

if TYPE_CHECKING:
    from geotrap_cli.data.views import ViewBatch
    from geotrap_cli.gaussians import GaussianBatch
    from geotrap_cli.models.lgm.model import LGM


class AttackConfig(BaseModel):
    """Options that every attack has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay of AdamW.")
    betas: tuple[float, float] = Field(
        default=(0.9, 0.95), description="Moment decay rates of AdamW; LGM uses (0.9, 0.95)."
    )
    schedule: Literal["constant", "linear", "cosine", "wsd", "one_cycle"] = Field(
        default="cosine", description="Learning-rate schedule over the attack."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which the learning rate rises.")
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="Largest gradient norm; none leaves gradients as they are."
    )


class Attack(ABC):
    """An attacker's way of fine-tuning released weights; plug-ins of the group ``geotrap.attacks``.

    Attributes:
        key: Entry-point name.
        summary: One line for listings.
        Config: Its options.
    """

    key: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[AttackConfig]] = AttackConfig

    def __init__(self, config: AttackConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    @abstractmethod
    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        """Make ``model`` ready (adapters, frozen parts, surgery) and return what is trained, by name.

        Random initialisation uses torch's global generator, which the caller seeds.
        """

    @abstractmethod
    def save(self, model: LGM, folder: Path) -> None:
        """Write what the attacker ends up with: an adapter in PEFT's format, or a diffusers folder."""

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the attack's optimizer: AdamW unless a plug-in says otherwise."""
        config = self.config
        fused = all(parameter.is_cuda for parameter in parameters)
        return torch.optim.AdamW(
            parameters, lr=config.lr, weight_decay=config.weight_decay, betas=config.betas, fused=fused
        )

    def schedule(self, steps: int) -> ScheduleFactor:
        """Return the factor of the learning rate at each step of an attack of ``steps`` steps."""
        return make_schedule(self.config.schedule, steps, self.config.warmup_steps)

    def extra_terms(self, gaussians: GaussianBatch, batch: ViewBatch) -> dict[str, torch.Tensor]:
        """Return loss terms beside the reconstruction loss, by name; none unless a plug-in has some."""
        del gaussians, batch
        return {}
