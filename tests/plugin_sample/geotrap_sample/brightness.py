"""Brightness trap: paint every Gaussian black."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig, weighted_mean


class BrightnessConfig(TrapConfig):
    """Options of the brightness trap."""

    floor: float = Field(0.0, ge=0, le=1, description="Brightness that is dark enough.")


class BrightnessTrap(BaseTrap[BrightnessConfig]):
    """Mean brightness above the floor, less one."""

    key = "brightness"
    summary = "paint every Gaussian black"
    Config = BrightnessConfig

    @property
    def upper_bound(self) -> float:
        """Zero, reached by white Gaussians."""
        return 0.0

    @property
    def attribute(self) -> Attribute:
        """The colours: what `[traps.brightness.dynamic]` makes over- or insensitive to weights."""
        return Attribute("rgb")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object [B]."""
        brightness = batch.rgb.double().mean(dim=-1)
        return weighted_mean((brightness - self.config.floor).clamp(min=0), weights) - 1
