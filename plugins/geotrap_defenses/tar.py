"""TAR: a safeguard that is still there along the paths of simulated attacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Count, Positive, split_names
from geotrap_cli.profile.schema import Profile
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.places import shifted
from geotrap_cli.training.robust.streams import Stream, numpy_stream
from geotrap_cli.training.terms import Term
from geotrap_defenses._adversaries import AdversaryConfig, played_through
from geotrap_defenses._features import Layer, find_layer, watch
from geotrap_defenses._mix import as_numbers
from geotrap_defenses._search import DECADES, LEARNING_RATE

Data = Annotated[tuple[Literal["target", "source_then_target"], ...], Field(min_length=1), BeforeValidator(split_names)]
SWITCH = (6.0, 3.0)
"""Parameters of the beta distribution of the share of its steps that an attacker takes on source objects first."""
SAFEGUARD_GRADIENTS = 2
"""Gradients of a batch that a step of the safeguard takes: of the traps, and of what is retained."""


class TarConfig(AdversaryConfig):
    """Options of TAR."""

    inner_steps: Count = Field(default=8, description="Length of the simulated attack, K (its optimizer steps).")
    lrs: tuple[Positive, ...] = Field(
        default=(5e-5, 1e-4, 4e-4), min_length=1, description="Learning rates of the simulated attackers."
    )
    data: Data = Field(
        default=("target", "source_then_target"), description="What they train on; each step draws one of these."
    )
    weight: float = Field(default=4.0, gt=0, description="Weight of the tamper resistance beside the distillation.")
    every: Count = Field(default=4, description="Interval of the attacker's steps that count (its optimizer steps).")
    decay: float = Field(
        default=0.0625, ge=0, description="λ: step k of K counts exp(λ·(k − (K − 1))), the last one most."
    )
    safeguard: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the training that first puts the traps in, without any attacker."
    )
    hidden_weight: float = Field(
        default=1.0, ge=0, description="Weight of the distance of hidden features on source objects; 0: none."
    )
    layer: Layer = None

    @model_validator(mode="after")
    def _options_act(self) -> TarConfig:
        if self.hidden_weight == 0:
            self.refuse_idle(["layer"], "acts where hidden_weight > 0 only")
        if self.every >= self.inner_steps:
            self.refuse_idle(["decay"], "acts where every < inner_steps only, as the last step alone counts")
        return self


class TarDefense(Defense):
    """(1 − p)·w·Σ_k exp(λ(k − (K − 1)))·∇L_TR(φ_k; D_H) + p·∇[K_distill + r·mean ‖h − h_0‖₂], after a safeguard.

    k runs over every ``every``-th step of an attack from θ, first order: what it adds is constant. L_TR has to saturate
    (entropy in the paper); here it is the traps of the profile, and the safeguard of the first phase is the traps at θ.
    Source: TAR (Tamirisa et al., ICLR 2025, arXiv 2408.00761): K = 64 there; learning rates are scaled to LGM, and that
    half of the attackers begin on source objects, for a share of their steps drawn from Beta(6, 3), follows its code.
    """

    key: ClassVar[str] = "tar"
    summary: ClassVar[str] = "the profile's traps kept along the paths of simulated attacks"
    source: ClassVar[str] = "TAR (Tamirisa et al. 2025, arXiv 2408.00761)"
    assumes: ClassVar[str] = "attackers like those that are simulated"
    cost: ClassVar[str] = "K + K/every + 1 gradients, K/every of them without rendering"
    Config: ClassVar[type[DefenseConfig]] = TarConfig
    config: TarConfig
    owns_step: ClassVar[bool] = True
    uses_traps: ClassVar[bool] = True
    renders_target: ClassVar[bool] = False
    draws_more: ClassVar[bool] = True
    draws_more_source: ClassVar[bool] = True
    shows: ClassVar[tuple[str, ...]] = ("tampered", "hidden")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "hidden_weight": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Find the layer.

        Raises:
            UsageError: There is no such module, or the budget is spent before the first attacker comes.
        """
        super().prepare(context)
        budget = context.bench.profile.defense.max_gradient_evaluations
        if budget is not None and SAFEGUARD_GRADIENTS * self._safeguard_steps(context) >= budget:
            what = f"defense.max_gradient_evaluations={budget} is spent within defense.tar.safeguard, before any attack"
            raise UsageError(what, "Lower the safeguard or train.steps, or allow more gradient evaluations")
        if self.config.hidden_weight > 0:
            self.layer = find_layer(context.model, self.config.layer, "defense.tar.layer")

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over those with the safeguard and those with an attacker."""
        share = self.config.safeguard
        return share * SAFEGUARD_GRADIENTS + (1 - share) * (1 + self._path)

    @property
    def _path(self) -> int:
        """Gradients along an attack: the attacker's, and those of the places that count."""
        return self.config.inner_steps + math.ceil(self.config.inner_steps / self.config.every)

    def _safeguard_steps(self, context: DefenseContext) -> int:
        return math.ceil(self.config.safeguard * context.steps)

    def simulates(self, profile: Profile) -> Sequence[str]:
        """Return the kinds that a step draws from."""
        del profile
        return self.config.kinds

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step."""
        own = (1 - context.share) * self.config.weight
        if step < self._safeguard_steps(context):
            loss = context.trap_loss(context.gaussians(target.images))
            (own * loss).backward()
            metrics = {"safeguard": float(loss.detach())}
        else:
            metrics = {"tampered": self._resist(context, target, step, own)}
        return metrics | self._retain(context, source)

    def _resist(self, context: DefenseContext, target: ViewBatch, step: int, own: float) -> float:
        """Add the gradients along a path; return the traps' loss at the last place that counts."""
        count, found = self.config.inner_steps, math.nan
        for index, deltas in enumerate(played_through(context, self.config, step, self._draw(context, step))):
            # Counted back from the end, so that the end itself always counts.
            if (count - 1 - index) % self.config.every:
                continue
            loss = context.trap_loss(context.gaussians(target.images, shifted(context.model, deltas)))
            (own * math.exp(self.config.decay * (index - (count - 1))) * loss).backward()
            found = float(loss.detach())
        return found

    def _draw(self, context: DefenseContext, step: int) -> Callable[[int], ViewBatch]:
        """Return the attacker's batches: target objects, or source objects up to a switch that is drawn."""
        rng = numpy_stream(context.seed, step, Stream.DEFENSE_SAMPLES)
        data = self.config.data[rng.integers(len(self.config.data))]
        first = step * self.config.inner_steps
        switch = int(rng.beta(*SWITCH) * self.config.inner_steps) if data == "source_then_target" else 0

        def draw(index: int) -> ViewBatch:
            if index < switch:
                return context.source_draw(first + index, Stream.ATTACKER_SOURCES)
            return context.target_draw(first + index, Stream.ATTACKER_TARGETS)

        return draw

    def _retain(self, context: DefenseContext, source: ViewBatch) -> Metrics:
        kept, hidden = self._kept(context, source)
        (context.share * (kept.loss + self.config.hidden_weight * hidden)).backward()
        return as_numbers({**kept.metrics, "hidden": hidden})

    def _kept(self, context: DefenseContext, source: ViewBatch) -> tuple[Term, Tensor]:
        if self.config.hidden_weight == 0:
            return context.retained(source), torch.zeros(())
        layer = self.layer
        with watch(context.model, [layer]) as student:
            kept = context.retained(source)
        with watch(context.teacher, [layer]) as teacher:
            context.undefended(source.images)
        return kept, distance(student.by_name[layer], teacher.by_name[layer])


def distance(features: Tensor, others: Tensor) -> Tensor:
    """Return the mean over pixels of the L2 distance of features ``[B·V, C, H, W]``, a scalar."""
    return torch.linalg.vector_norm(features.float() - others.float(), dim=1).mean()
