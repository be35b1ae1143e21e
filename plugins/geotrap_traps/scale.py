"""Scale trap: needles and flakes, or vanishing size."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig, weighted_mean

MAGNITUDE_EPSILON = 1e-8


class ScaleConfig(TrapConfig):
    """Options of the scale trap."""

    mode: Literal["anisotropy", "magnitude"] = Field(
        "anisotropy", description="anisotropy: stretch each Gaussian to a needle or flake; magnitude: shrink it."
    )
    epsilon: float = Field(
        1e-6, ge=1e-12, description="Added to both squared axes in mode anisotropy, in squared world units."
    )

    @model_validator(mode="after")
    def _options_act(self) -> ScaleConfig:
        if self.mode == "magnitude":
            self.refuse_idle(["epsilon"], "acts in mode 'anisotropy' only")
        return self


class ScaleTrap(BaseTrap[ScaleConfig]):
    """Mean over Gaussians of a loss on their three axis lengths s [B, N, 3] (idea: GaussLock, arXiv 2604.09688).

    ``anisotropy``: ``-log((max s² + ε) / (min s² + ε))``, never above zero. ε is added, not a floor: a floor has no
    gradient for axes shorter than √ε.
    ``magnitude``: mean over the axes of ``log(s + 1e-8)``, not bounded above.
    """

    key = "scale"
    summary = "turn Gaussians into needles and flakes, or shrink them"
    Config = ScaleConfig

    @property
    def upper_bound(self) -> float | None:
        """Zero for ``anisotropy``, reached by spheres; None for ``magnitude``."""
        return 0.0 if self.config.mode == "anisotropy" else None

    @property
    def attribute(self) -> Attribute:
        """The axis lengths."""
        return Attribute("scales")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        scales = batch.scales.double()
        if self.config.mode == "magnitude":
            return weighted_mean(torch.log(scales + MAGNITUDE_EPSILON).mean(dim=-1), weights)
        logs = torch.log(scales.square() + self.config.epsilon)
        return weighted_mean(logs.amin(dim=-1) - logs.amax(dim=-1), weights)
