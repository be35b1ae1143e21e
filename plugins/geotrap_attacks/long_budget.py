"""Ten times the budget, ending at the step that is best on objects the attacker holds out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import nn

from geotrap_attacks._sweep import Distinct
from geotrap_attacks._wrapped import Method, WrappedAttack, base_attack
from geotrap_cli.attacks import Attack, AttackContext, Phase, ScheduleConfig

VALIDATION, BEST = "validation", "best."
"""Names in the memory: best loss, its step and how often nothing improved since; prefix of the best weights."""

if TYPE_CHECKING:
    from geotrap_cli.models.generator import GaussianGenerator


class LongBudgetConfig(ScheduleConfig):
    """Options of long attacks."""

    methods: Distinct[Method] = Field(
        default=("full", "lora"), min_length=1, description="What is trained, one cell each."
    )
    lr: float | None = Field(default=None, gt=0, description="Peak learning rate; none: that of each method.")
    factor: int = Field(default=10, ge=1, description="Budget over attack.steps.")
    validate_every: int = Field(default=20, ge=1, description="Interval of validations (optimizer steps).")
    patience: int = Field(
        default=20, ge=1, description="Validations without a new best after which the attacker stops (validations)."
    )


class EarlyStopped(WrappedAttack):
    """An attack that goes on for longer and ends with the weights that were best on held-out objects.

    Args:
        inner: What is trained.
        config: Budget and validation.
    """

    key: ClassVar[str] = "long_budget"

    def __init__(self, inner: Attack, config: LongBudgetConfig) -> None:
        super().__init__(inner)
        self.options = config
        self.uses_validation = True
        self.best_loss, self.best_step, self._unimproved = math.inf, 0, 0
        self._best: dict[str, torch.Tensor] = {}

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """Return the phases of ``inner``, each longer."""
        return tuple(replace(phase, steps=self.options.factor * phase.steps) for phase in self.inner.phases(steps))

    def needs_whole_weights(self) -> str | None:
        """The best step is kept by value."""
        return "it keeps the weights of its best step"

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Remember where the held-out objects are."""
        self._context = context
        super().edit(model, context)

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Remember what is trained."""
        self._trained = super().prepare(model)
        return self._trained

    def after_step(self, model: GaussianGenerator, step: int) -> None:
        """Validate at intervals and keep the best weights."""
        super().after_step(model, step)
        if step % self.options.validate_every:
            return
        loss = self.validation_loss(model)
        self._unimproved += 1
        if loss < self.best_loss:
            self.best_loss, self.best_step, self._unimproved = loss, step, 0
            self._best = {name: value.detach().clone() for name, value in self._trained.items()}

    def memory(self) -> dict[str, torch.Tensor]:
        """The best weights so far, and what validation said."""
        numbers = torch.tensor([self.best_loss, self.best_step, self._unimproved], dtype=torch.float64)
        best = {f"{BEST}{name}": value for name, value in self._best.items()}
        return {**super().memory(), VALIDATION: numbers, **best}

    def recall(self, memory: dict[str, torch.Tensor]) -> None:
        """Go on validating where it ended."""
        super().recall(memory)
        self.best_loss, step, unimproved = memory[VALIDATION].tolist()
        self.best_step, self._unimproved = int(step), int(unimproved)
        best = {name.removeprefix(BEST): value for name, value in memory.items() if name.startswith(BEST)}
        self._best = {name: value.to(self._trained[name].device) for name, value in best.items()}

    def stopped(self) -> bool:
        """Return whether validation has stopped to improve."""
        return self._unimproved >= self.options.patience or super().stopped()

    def finish(self, model: GaussianGenerator) -> None:
        """Go back to the best step; the last one stays where the run was too short to validate."""
        with torch.no_grad():
            for name, value in self._best.items():
                self._trained[name].copy_(value)
        super().finish(model)

    @torch.no_grad()
    def validation_loss(self, model: GaussianGenerator) -> float:
        """Return the mean rendering loss over the held-out objects."""
        total, objects = 0.0, 0
        for batch in self._context.validation():
            terms = self._context.reconstruction_loss(model.forward_gaussians(batch.images), batch)
            total += len(batch) * float(torch.stack(list(terms.values())).sum())
            objects += len(batch)
        return total / objects


class LongBudgetAttack(Attack):
    """Full fine-tuning and LoRA with ten times the steps and early stopping."""

    key: ClassVar[str] = "long_budget"
    summary: ClassVar[str] = "full and LoRA for ten times the steps, early stopping"
    source: ClassVar[str] = "SOPHON's long attacks; Deep Ignorance (O'Brien et al. 2025)"
    assumes: ClassVar[str] = "the released weights and target objects, a fifth of which it validates on"
    budget: ClassVar[str] = "10 x attack.steps for each method, less where validation stops to improve"
    Config: ClassVar[type[LongBudgetConfig]] = LongBudgetConfig
    config: LongBudgetConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack a method."""
        shared = self.config.model_dump(include={*ScheduleConfig.model_fields, "lr"})
        return {
            f"{self.key}-{method}": EarlyStopped(base_attack(method, **shared), self.config)
            for method in self.config.methods
        }
