"""IMMA: a bad start for adapters, by two players in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Count
from geotrap_cli.profile.schema import Profile
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.places import attacked, shifted
from geotrap_cli.training.robust.simulation import CLIP_NORM
from geotrap_cli.training.robust.streams import Stream
from geotrap_defenses._mix import AscentConfig, backward, capped, mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE


class ImmaConfig(AscentConfig):
    """Options of IMMA."""

    kind: Literal["lora", "full"] = Field(
        default="lora", description="What the other player trains: lora (as [attack.lora] is set) or full."
    )
    lr: float = Field(default=0.1, gt=0, description="a, learning rate of its gradient descent.")
    restart_every: Count = Field(default=20, description="Interval at which it begins anew (optimizer steps).")


class ImmaDefense(Defense):
    """In turn φ ← φ − a·∇_φ L(θ, φ; D_A) and θ along p·∇K_distill(θ) − (1 − p)·w·∇_θ L_b(θ, φ; D_H).

    φ are the simulated attacker's tensors; they live on from step to step, begin anew every ``restart_every`` steps,
    and D_A and D_H are two halves of the target objects. L_b = min(L, L_max). Source: IMMA (Zheng and Yeh, ECCV 2024,
    arXiv 2311.18815), which neither bounds the ascent nor retains anything, and trains attention alone
    (``layers.units`` here). φ takes plain gradient steps, clipped at norm 1, so that a checkpoint need not hold an
    optimizer of its own.
    """

    key: ClassVar[str] = "imma"
    summary: ClassVar[str] = "a bad start for adapters: bounded ascent through an adapter that learns"
    source: ClassVar[str] = "IMMA (Zheng and Yeh 2024, arXiv 2311.18815); bound and distillation are ours"
    assumes: ClassVar[str] = "an attacker with the adapter of [attack.lora], or full fine-tuning"
    cost: ClassVar[str] = "3 gradients"
    Config: ClassVar[type[DefenseConfig]] = ImmaConfig
    config: ImmaConfig
    owns_step: ClassVar[bool] = True
    draws_more: ClassVar[bool] = True
    shows: ClassVar[tuple[str, ...]] = ("target_loss", "attacker_loss")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "lr": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Set up the other player.

        Raises:
            UsageError: There is one target object, and two halves need two.
        """
        super().prepare(context)
        ids = context.bench.splits.defense_target
        if len(ids) < 2:
            raise UsageError("defense.imma: one target object cannot be split in two halves", "Name more of them")
        self._attacked_ids = ids[::2]
        self.adaptation = context.adaptation(self.config.kind, 0)

    def target_objects(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the half that the attacker does not train on."""
        return ids[1::2]

    def state(self) -> dict[str, Tensor]:
        """Return φ."""
        return {f"adapter.{index}": tensor for index, tensor in enumerate(self.adaptation.parameters)}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return 3.0

    def simulates(self, profile: Profile) -> Sequence[str]:
        """Return the kind of the other player."""
        del profile
        return (self.config.kind,)

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Let the attacker take its step, then set the gradients of θ."""
        if step % self.config.restart_every == 0:
            self._restart(context, step)
        batch = context.target_draw(step, Stream.ATTACKER_TARGETS, self._attacked_ids)
        attacker_loss = self._attack(context, batch)
        loss = context.reconstruction(target, shifted(context.model, self.adaptation.deltas()))
        own = -self.config.weight * capped(loss, self.config.cap)
        terms = mixed(context.share, context.retained(source), own, {"target_loss": loss})
        return {"attacker_loss": attacker_loss, **backward(terms)}

    def _attack(self, context: DefenseContext, batch: ViewBatch) -> float:
        parameters = self.adaptation.parameters
        loss = context.reconstruction(batch, attacked(context.model, self.adaptation.deltas()))
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        with torch.no_grad():
            for parameter in parameters:
                assert parameter.grad is not None
                parameter -= self.config.lr * parameter.grad
        return float(loss.detach())

    @torch.no_grad()
    def _restart(self, context: DefenseContext, step: int) -> None:
        fresh = context.adaptation(self.config.kind, step)
        for parameter, begun in zip(self.adaptation.parameters, fresh.parameters, strict=True):
            parameter.copy_(begun)
