"""Noise: weights as far away as a defense's, in a direction that means nothing."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from geotrap_cli.defenses import DefenseConfig
from geotrap_cli.profile.base import FilePath
from geotrap_cli.training.control_weights import add_matched_noise
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.streams import Stream, derived_seed
from geotrap_defenses._noise import add_noise
from geotrap_defenses.distill import DistillDefense


class NoiseConfig(DefenseConfig):
    """Options of the noise."""

    like: FilePath | None = Field(
        default=None,
        description="Weights of a defense, or its run folder, whose distance in each unit the noise has; unset: sigma.",
    )
    sigma: float = Field(default=0.02, gt=0, description="Deviation of the noise (in RMS of each trained tensor).")

    @model_validator(mode="after")
    def _options_act(self) -> NoiseConfig:
        if self.like is not None:
            self.refuse_idle(["sigma"], "does not act where `like` sets the length of the noise")
        return self


class NoiseDefense(DistillDefense):
    """θ_0 + noise, then p·K_distill: a control that separates a defense from the distance it went.

    With ``like``, the noise is as long in each unit as what that defense changed; else σ·RMS(θ_t)·ξ in each trained
    tensor.
    """

    key: ClassVar[str] = "noise"
    summary: ClassVar[str] = "random noise as long as a defense's change, then distillation: a control"
    cost: ClassVar[str] = "1 gradient"
    Config: ClassVar[type[DefenseConfig]] = NoiseConfig
    config: NoiseConfig

    def prepare(self, context: DefenseContext) -> None:
        """Add the noise, drawn on the CPU and so the same on every device.

        Raises:
            UsageError: The weights that ``like`` names cannot be read.
        """
        super().prepare(context)
        if self.config.like is None:
            add_noise(context, self.config.sigma)
        else:
            seed = derived_seed(context.seed, Stream.DEFENSE_NOISE)
            add_matched_noise(context.model, context.open(self.config.like), seed)
