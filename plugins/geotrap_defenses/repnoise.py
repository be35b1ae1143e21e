"""RepNoise: features of target objects that carry nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.profile.base import Names
from geotrap_cli.search_ranges import Range, multiples
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.streams import Stream
from geotrap_defenses._features import find_layers, sample_rows, watch
from geotrap_defenses._mix import mixed
from geotrap_defenses._mmd import mmd
from geotrap_defenses._search import DECADES, LEARNING_RATE


class RepnoiseConfig(DefenseConfig):
    """Options of representation noising."""

    weight: float = Field(default=10.0, gt=0, description="Weight of both terms beside the distillation.")
    noise_weight: float = Field(default=1e-3, ge=0, description="β, weight of the distance of features to noise.")
    ascent_weight: float = Field(default=1.0, ge=0, description="α, weight of -log L on target objects.")
    layers: Names = Field(
        default=(),
        description="Modules whose outputs count; a list of modules stands for all in it. None: one a resolution.",
    )
    samples: int = Field(default=128, ge=2, description="Pixels of each layer that are compared (pixels).")

    @model_validator(mode="after")
    def _options_act(self) -> RepnoiseConfig:
        if self.noise_weight == 0 == self.ascent_weight:
            raise ValueError("noise_weight and ascent_weight are both 0, so there is no defense")
        if self.noise_weight == 0:
            self.refuse_idle(["layers", "samples"], "acts where noise_weight > 0 only")
        return self


class RepnoiseDefense(Defense):
    """p·K_distill + (1 − p)·w·[β·mean_l MMD(h_l(x_H), N(0, I)) − α·log L(D_H)].

    h_l are random pixels of the output of layer l, the noise is drawn anew at each step, and L is the rendering loss of
    an attacker: the gradient of its logarithm fades as 1/L. Source: RepNoise (Rosati et al., NeurIPS 2024, arXiv
    2405.14577), α = 1 and β = 1e-3 there; its loss of every layer through the output head has no counterpart here,
    where features of inner layers have another resolution, so the log is of the last layer's loss alone.
    """

    key: ClassVar[str] = "repnoise"
    summary: ClassVar[str] = "features of target objects turned into noise, at every depth"
    source: ClassVar[str] = "RepNoise (Rosati et al. 2024, arXiv 2405.14577)"
    assumes: ClassVar[str] = "that what features do not carry has to be learned anew"
    cost: ClassVar[str] = "2 gradients"
    Config: ClassVar[type[DefenseConfig]] = RepnoiseConfig
    config: RepnoiseConfig
    shows: ClassVar[tuple[str, ...]] = ("target_loss", "mmd")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "noise_weight": multiples(0.1, 100.0), **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Find the layers."""
        super().prepare(context)
        self.layers = find_layers(context.model, self.config.layers, "defense.repnoise.layers")

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step."""
        context, config = self.context, self.config
        with watch(context.model, self.layers) as features:
            loss = context.reconstruction(target)
        apart = self._distance_to_noise([features.by_name[layer] for layer in self.layers], step)
        own = config.noise_weight * apart - config.ascent_weight * loss.log()
        metrics = {"target_loss": loss, "mmd": apart}
        return mixed(context.share, context.retained(source), config.weight * own, metrics)

    def _distance_to_noise(self, features: Sequence[Tensor], step: int) -> Tensor:
        random = self.context.generator(step, Stream.DEFENSE_NOISE)
        return torch.stack([noise_distance(found.float(), self.config.samples, random) for found in features]).mean()


def noise_distance(features: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Return the MMD between random pixels of features ``[B·V, C, H, W]`` and as many draws of N(0, I), a scalar."""
    rows = sample_rows(features, samples, generator)
    noise = torch.randn(rows.shape, generator=generator, device=rows.device, dtype=rows.dtype)
    return mmd(rows, noise)
