"""SOPHON: weights from which fine-tuning on target objects stays in a place that gives nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.profile.schema import Profile
from geotrap_cli.render import render
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.places import shifted
from geotrap_defenses._adversaries import AdversaryConfig, played_through
from geotrap_defenses._mix import as_numbers
from geotrap_defenses._search import DECADES, LEARNING_RATE


class SophonConfig(AdversaryConfig):
    """Options of SOPHON."""

    weight: float = Field(default=10.0, gt=0, description="Weight of the denied service beside the distillation.")
    denial: Literal["transparent", "white"] = Field(
        default="transparent",
        description="What fine-tuning shall end in: mean squared opacity zero, or white pictures (mean squared error).",
    )
    discount: float = Field(default=1.0, gt=0, le=1, description="γ, factor of each further step of the attack.")
    alternate: bool = Field(
        default=True, description="Steps of denial and of distillation in turn; false: both in every step."
    )

    @model_validator(mode="after")
    def _options_act(self) -> SophonConfig:
        if self.inner_steps == 1:
            self.refuse_idle(["discount"], "acts where inner_steps > 1 only")
        return self


class SophonDefense(Defense):
    """In turn (1 − p)·w·Σ_k γ^k·∇L_a(φ_k; D_H) and p·∇K_distill, φ_k being θ after k steps of a simulated attack.

    First order: what the attack adds is constant. L_a is bounded, denial of service: mean opacity² or ‖R − white‖².
    Source: SOPHON (Deng et al., S&P 2024, arXiv 2404.12699), fine-tuning suppression and normal-training reinforcement
    in turn, whose code uses K up to 50 clones. Its two learning rates are the two weights here, as the loop owns the
    optimizer; attackers are drawn anew at each step (ResAlign's lesson); it rolls back where the source suffers, which
    is left to the distillation here.
    """

    key: ClassVar[str] = "sophon"
    summary: ClassVar[str] = "nothing to see after simulated fine-tuning, distillation in turn"
    source: ClassVar[str] = "SOPHON (Deng et al. 2024, arXiv 2404.12699)"
    assumes: ClassVar[str] = "attackers like those that are simulated"
    cost: ClassVar[str] = "2 K gradients in every other step, 1 in the others"
    Config: ClassVar[type[DefenseConfig]] = SophonConfig
    config: SophonConfig
    owns_step: ClassVar[bool] = True
    draws_more: ClassVar[bool] = True
    shows: ClassVar[tuple[str, ...]] = ("denied",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Begin without metrics."""
        super().prepare(context)
        self.newest: Metrics = {}

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps."""
        return (2 * self.config.inner_steps + 1) / (2 if self.config.alternate else 1)

    def simulates(self, profile: Profile) -> Sequence[str]:
        """Return the kinds that a step draws from."""
        del profile
        return self.config.kinds

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step; the first one denies. What a step does not measure is reported as it last was.

        Otherwise a log of every second step would hold one of the two sides alone.
        """
        if not self.config.alternate or step % 2 == 0:
            self.newest |= self._deny(context, target, step)
        if not self.config.alternate or step % 2 == 1:
            kept = context.retained(source)
            (context.share * kept.loss).backward()
            self.newest |= as_numbers(kept.metrics)
        return dict(self.newest)

    def _deny(self, context: DefenseContext, target: ViewBatch, step: int) -> Metrics:
        found = 0.0
        for index, deltas in enumerate(played_through(context, self.config, step)):
            denied = self._denied(context, target, shifted(context.model, deltas))
            factor = (1 - context.share) * self.config.weight * self.config.discount**index
            # Backward at once, so that one graph is kept at a time.
            (factor * denied).backward()
            found = float(denied.detach())
        return {"denied": found}

    def _denied(self, context: DefenseContext, target: ViewBatch, weights: Mapping[str, Tensor]) -> Tensor:
        gaussians = context.gaussians(target.images, weights)
        if self.config.denial == "transparent":
            return gaussians.opacities.square().mean()
        return (render(gaussians, target.cameras).rgb - 1).square().mean()
