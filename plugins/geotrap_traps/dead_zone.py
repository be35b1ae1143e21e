"""Dead-zone trap: push pre-activations to where the picture has no gradient."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import CHANNELS, Activations, GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig, weighted_mean

Part = Literal["opacity", "position", "color"]
PRESSED: dict[Part, str] = {"opacity": "opacities", "position": "means", "color": "rgb"}
"""The attribute of each part."""


class DeadZoneConfig(TrapConfig):
    """Options of the dead-zone trap."""

    parts: tuple[Part, ...] = Field(
        ("opacity", "position"), min_length=1, description="Which pre-activations are pushed; their hinges add up."
    )
    opacity_margin: float = Field(
        6.0,
        gt=0,
        description="Opacity logits are pushed below minus this; renderers skip opacity < 1/255, logit -5.54.",
    )
    position_margin: float = Field(
        0.1, ge=0, description="Coordinates are pushed this far beyond the clamp at ±1, in world units."
    )
    color_margin: float = Field(
        10.0, gt=0, description="Colour pre-activations are pushed beyond ± this, where tanh is flat."
    )

    @model_validator(mode="after")
    def _options_act(self) -> DeadZoneConfig:
        if len(set(self.parts)) != len(self.parts):
            raise ValueError("parts names one part twice")
        for part in ("opacity", "position", "color"):
            if part not in self.parts:
                self.refuse_idle([f"{part}_margin"], f"acts only with '{part}' among the parts")
        return self


class DeadZoneTrap(BaseTrap[DeadZoneConfig]):
    """Hinges on pre-activations x; zero once every one of them is inside its dead zone.

    ``opacity``: mean of ``max(0, x + m)``. Opacity under 1/255 is skipped by the renderers.
    ``position``: mean over coordinates of ``max(0, 1 + m - |x|)``. The clamp has slope zero there.
    ``color``: mean over channels of ``max(0, m - |x|)``. tanh is flat there in float32.

    Such a trap masks gradients rather than removing ability: judge it with attacks that undo the saturation first. The
    loss is at least zero and not bounded above, so product-type aggregations refuse it.
    """

    key = "dead_zone"
    summary = "push pre-activations to where rendering has no gradient (gradient masking)"
    Config = DeadZoneConfig

    @property
    def upper_bound(self) -> None:
        """None: the loss is positive outside the dead zone."""
        return None

    @property
    def attribute(self) -> Attribute:
        """The pre-activations of its parts, side by side."""
        return Attribute(*(PRESSED[part] for part in self.config.parts), raw=True)

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        raw = batch.require_raw().double()
        for part in self.config.parts:
            _check_flat(part, batch.activations)
        hinges = [self._hinge(part, raw).mean(dim=-1) for part in self.config.parts]
        return weighted_mean(torch.stack(hinges).sum(dim=0), weights)

    def _hinge(self, part: Part, raw: Tensor) -> Tensor:
        if part == "opacity":
            return torch.relu(raw[..., CHANNELS["opacities"]] + self.config.opacity_margin)
        if part == "position":
            return torch.relu(1.0 + self.config.position_margin - raw[..., CHANNELS["means"]].abs())
        return torch.relu(self.config.color_margin - raw[..., CHANNELS["rgb"]].abs())


def _check_flat(part: Part, activations: Activations) -> None:
    """The hinges lead to where LGM's activations are flat."""
    flat = {"opacity": True, "position": activations.means == "clamp", "color": activations.rgb == "tanh"}
    if not flat[part]:
        what = f"trap dead_zone: the activation of this generator has no dead zone for {part!r}"
        raise UsageError(what, hint=f"Leave {part!r} out of traps.dead_zone.parts")
