"""An attack around another one: sweeps change one thing of full fine-tuning or LoRA and leave the rest to it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from geotrap_attacks.full import FullAttack, FullConfig
from geotrap_attacks.lora import LoraAttack, LoraConfig
from geotrap_cli.attacks import Attack, AttackContext, AttackSetting, LossTerms, Phase, ReconstructionTerms

if TYPE_CHECKING:
    from geotrap_cli.data.views import ViewBatch
    from geotrap_cli.gaussians import GaussianBatch
    from geotrap_cli.models.generator import GaussianGenerator
    from geotrap_cli.training.schedules import ScheduleFactor

Method = Literal["full", "lora"]


def base_attack(method: Method, **options: Any) -> Attack:
    """Return full fine-tuning or LoRA with those ``options`` that are not None, and its own defaults otherwise."""
    stated = {name: value for name, value in options.items() if value is not None}
    return FullAttack(FullConfig(**stated)) if method == "full" else LoraAttack(LoraConfig(**stated))


class WrappedAttack(Attack):
    """Does what ``inner`` does; subclasses change one thing."""

    def __init__(self, inner: Attack) -> None:
        super().__init__(inner.config)
        self.inner = inner
        self.uses_validation, self.perceptual = inner.uses_validation, inner.perceptual

    def missing(self) -> str | None:
        """As ``inner``; see :class:`Attack` for this method and those below."""
        return self.inner.missing()

    def misfit(self, setting: AttackSetting) -> str | None:
        """As ``inner``."""
        return self.inner.misfit(setting)

    def indivisible(self) -> str | None:
        """As ``inner``."""
        return self.inner.indivisible()

    def needs_whole_weights(self) -> str | None:
        """As ``inner``; a subclass that looks at weights says so."""
        return self.inner.needs_whole_weights()

    def target_objects(self, ids: Sequence[str], seed: int) -> Sequence[str]:
        """As ``inner``."""
        return self.inner.target_objects(ids, seed)

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """As ``inner``."""
        return self.inner.phases(steps)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """As ``inner``."""
        self.inner.edit(model, context)

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """As ``inner``."""
        return self.inner.prepare(model)

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """As ``inner``."""
        return self.inner.optimizer(parameters)

    def schedule(self, steps: int) -> ScheduleFactor:
        """As ``inner``."""
        return self.inner.schedule(steps)

    def gaussians(self, batch: GaussianBatch) -> GaussianBatch:
        """As ``inner``."""
        return self.inner.gaussians(batch)

    def loss_terms(
        self, gaussians: GaussianBatch, batch: ViewBatch, phase: Phase, reconstruction: ReconstructionTerms
    ) -> LossTerms:
        """As ``inner``."""
        return self.inner.loss_terms(gaussians, batch, phase, reconstruction)

    def after_step(self, model: GaussianGenerator, step: int) -> None:
        """As ``inner``."""
        self.inner.after_step(model, step)

    @property
    def resumable(self) -> bool:
        """As ``inner``; a subclass that keeps more from step to step adds it to ``memory``."""
        return self.inner.resumable

    def memory(self) -> dict[str, torch.Tensor]:
        """As ``inner``."""
        return self.inner.memory()

    def recall(self, memory: dict[str, torch.Tensor]) -> None:
        """As ``inner``."""
        self.inner.recall(memory)

    def stopped(self) -> bool:
        """As ``inner``."""
        return self.inner.stopped()

    def as_released(self, model: GaussianGenerator) -> contextlib.AbstractContextManager[object]:
        """As ``inner``."""
        return self.inner.as_released(model)

    def finish(self, model: GaussianGenerator) -> None:
        """As ``inner``."""
        self.inner.finish(model)

    def save(self, model: GaussianGenerator, folder: Path) -> None:
        """As ``inner``."""
        self.inner.save(model, folder)
