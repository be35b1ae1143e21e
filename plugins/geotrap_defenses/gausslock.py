"""GaussLock: all five attribute traps at the weights themselves, with a cap on each tensor's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.aggregation import aggregate
from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.energy_cap import EnergyCap
from geotrap_cli.training.robust.gradients import backward_apart
from geotrap_cli.training.trap_set import load_trap
from geotrap_defenses._mix import as_numbers
from geotrap_defenses._search import DECADES, LEARNING_RATE


class GausslockConfig(DefenseConfig):
    """Options of GaussLock."""

    weight: float = Field(default=20.0, gt=0, description="λ_t, weight of the traps beside the distillation.")
    aggregation: Literal["logsumexp", "mean"] = Field(
        default="logsumexp", description="How the five traps become one loss."
    )
    temperature: float = Field(default=0.25, gt=0, description="τ of logsumexp.")
    opacity: Literal["log", "logit"] = Field(default="log", description="What the opacity trap takes the mean of.")
    top_fraction: float = Field(
        default=0.02, gt=0, le=1, description="Share of the Gaussians, the most opaque ones, that it counts."
    )
    energy_cap: float = Field(
        default=3.0, ge=0, description="κ: largest energy of a tensor's trap gradient, in mean energies; 0: no cap."
    )

    @model_validator(mode="after")
    def _options_act(self) -> GausslockConfig:
        if self.aggregation == "mean":
            self.refuse_idle(["temperature"], "acts in aggregation 'logsumexp' only")
        return self


class GausslockDefense(Defense):
    """p·K_distill + (1 − p)·λ_t·A(position, scale, opacity, rotation, color), A = τ·logsumexp(T/τ) or the mean.

    The traps are the log forms of docs/method.md at θ alone, on target objects; ``[traps]`` of the profile is measured,
    not minimised. On the traps' gradient each tensor's energy is capped at κ times the mean. Source: GaussLock (arXiv
    2604.09688), of which the abstract alone is public; the forms are inferred from it and from the research code of its
    method, whose λ_d·mean|G − G_0| is K_distill at the defaults of ``[retain]``; κ is ours.
    """

    key: ClassVar[str] = "gausslock"
    summary: ClassVar[str] = "five attribute traps at the weights themselves, distillation on the rest"
    source: ClassVar[str] = "GaussLock (arXiv 2604.09688), inferred: only its abstract is public"
    assumes: ClassVar[str] = "nothing of the attacker's loss"
    cost: ClassVar[str] = "2 gradients"
    Config: ClassVar[type[DefenseConfig]] = GausslockConfig
    config: GausslockConfig
    owns_step: ClassVar[bool] = True
    renders_target: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ("locked",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Load the traps.

        Raises:
            UsageError: The cap is so large that it never acts.
        """
        super().prepare(context)
        opacity = {"mode": self.config.opacity, "top_fraction": self.config.top_fraction}
        options: dict[str, dict[str, Any]] = {
            "position": {},
            "scale": {},
            "opacity": opacity,
            "rotation": {},
            "color": {},
        }
        self.traps = {key: load_trap(key, given) for key, given in options.items()}
        cap, option = self.config.energy_cap, "defense.gausslock.energy_cap"
        self.treatments = [EnergyCap(cap, len(context.trained), option, "set it to 0")] if cap > 0 else []

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step."""
        del step
        locked, kept = self.locked(context.gaussians(target.images)), context.retained(source)
        trap_total = (1 - context.share) * self.config.weight * locked
        retain_total = context.share * kept.loss
        treated = backward_apart(trap_total, retain_total, context.parameters, self.treatments)
        return as_numbers({"locked": locked, **kept.metrics, "total": trap_total + retain_total}) | treated

    def locked(self, gaussians: GaussianBatch) -> Tensor:
        """Return A of the five traps, mean over objects, a scalar."""
        losses = {key: trap.loss(gaussians) for key, trap in self.traps.items()}
        bounds = {key: trap.upper_bound for key, trap in self.traps.items()}
        method = self.config.aggregation
        options = {"temperature": self.config.temperature} if method == "logsumexp" else {}
        return aggregate(losses, method, dict.fromkeys(losses, 1.0), bounds, **options).mean()
