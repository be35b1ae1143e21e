"""Opacity trap: make the Gaussians transparent."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig, weighted_mean

HYBRID_TOP_FRACTION = 0.02


class OpacityConfig(TrapConfig):
    """Options of the opacity trap."""

    mode: Literal["linear", "log", "logit", "hybrid"] = Field(
        "log",
        description="linear: mean opacity less one (saturates); log: mean log opacity; logit: mean pre-activation; "
        "hybrid: bulk times the mean plus tail times the mean of the most opaque.",
    )
    base: Literal["linear", "log", "logit"] = Field("log", description="What mode hybrid takes the two means of.")
    bulk: float = Field(0.5, ge=0, description="Weight of the mean over all Gaussians in mode hybrid.")
    tail: float = Field(0.5, gt=0, description="Weight of the mean over the most opaque Gaussians in mode hybrid.")
    top_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of Gaussians, the most opaque ones, that count. Left out: all of them, and "
        f"{HYBRID_TOP_FRACTION} for the tail of mode hybrid.",
    )
    epsilon: float = Field(1e-6, ge=1e-12, description="Added to the opacity under the logarithm.")

    @property
    def quantity(self) -> str:
        """What is averaged: linear, log or logit."""
        return self.base if self.mode == "hybrid" else self.mode

    @model_validator(mode="after")
    def _options_act(self) -> OpacityConfig:
        if self.mode != "hybrid":
            self.refuse_idle(["base", "bulk", "tail"], "acts in mode 'hybrid' only")
        if self.quantity != "log":
            self.refuse_idle(["epsilon"], "acts on log opacity only")
        return self


class OpacityTrap(BaseTrap[OpacityConfig]):
    """Mean, over all Gaussians or the most opaque ones, of a function of opacity o = σ(x).

    The idea of an opacity trap is GaussLock's (arXiv 2604.09688).

    ``linear``: ``o - 1``, in [-1, 0]; its gradient in x is o(1 - o), which dies as the trap succeeds.
    ``log``: ``log((o + ε) / (1 + ε))``, in about (-13.8, 0], smooth everywhere, from x itself where the batch has it.
    ``logit``: ``x``, gradient one everywhere, unbounded; needs pre-activations.
    ``hybrid``: ``bulk · mean + tail · mean of the most opaque``, against the escape in which a few opaque Gaussians
    repair the picture.
    """

    key = "opacity"
    summary = "make the Gaussians transparent"
    Config = OpacityConfig

    @property
    def upper_bound(self) -> float | None:
        """Zero, reached by opaque Gaussians; None where the logit is averaged."""
        return None if self.config.quantity == "logit" else 0.0

    @property
    def attribute(self) -> Attribute:
        """The opacities."""
        return Attribute("opacities")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        values, fraction = self._values(batch), self.config.top_fraction
        if self.config.mode == "hybrid":
            tail = top_mean(values, fraction or HYBRID_TOP_FRACTION, weights)
            return self.config.bulk * weighted_mean(values, weights) + self.config.tail * tail
        return weighted_mean(values, weights) if fraction is None else top_mean(values, fraction, weights)

    def _values(self, batch: GaussianBatch) -> Tensor:
        quantity, epsilon = self.config.quantity, self.config.epsilon
        if quantity == "logit":
            return _logits(batch.require_raw())
        opacities = batch.opacities.double()
        if quantity == "linear":
            return opacities - 1.0
        if batch.raw is None:
            return torch.log(opacities + epsilon) - math.log1p(epsilon)
        log_opacities = F.logsigmoid(_logits(batch.raw))
        return torch.logaddexp(log_opacities, log_opacities.new_tensor(math.log(epsilon))) - math.log1p(epsilon)


def top_mean(values: Tensor, fraction: float, weights: Tensor | None) -> Tensor:
    """Mean over the largest values of each object.

    Args:
        values: float64 [B, N].
        fraction: Share of the N Gaussians that count, rounded up, one at least.
        weights: None, or [B, N] that add up to one per object; Gaussians of weight zero are never picked before others.

    Returns:
        float64 [B].
    """
    count = max(1, math.ceil(fraction * values.shape[1] - 1e-9))
    ranking = values.detach()
    if weights is None:
        return values.gather(1, ranking.topk(count, dim=1).indices).mean(dim=1)
    picked = ranking.masked_fill(weights == 0, -torch.inf).topk(count, dim=1).indices
    shares = weights.gather(1, picked)
    return weighted_mean(values.gather(1, picked), shares / shares.sum(dim=1, keepdim=True))


def _logits(raw: Tensor) -> Tensor:
    return raw[..., CHANNELS["opacities"]].squeeze(-1).double()
