"""Non-transferable learning: outputs on target objects driven away, along with the features they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.streams import Stream
from geotrap_defenses._features import Layer, find_layer, sample_rows, watch
from geotrap_defenses._mix import mixed
from geotrap_defenses._mmd import mmd
from geotrap_defenses._noise import add_noise
from geotrap_defenses._search import DECADES, LEARNING_RATE

#: Deviation of the first push, in RMS of each trained tensor.
HAIR = 1e-4


class NtlConfig(DefenseConfig):
    """Options of non-transferable learning."""

    weight: float = Field(default=4000.0, gt=0, description="Weight of the bounded term beside the distillation.")
    factor: float = Field(default=0.1, gt=0, description="a, factor of the product under the bound.")
    cap: float = Field(default=0.1, gt=0, description="c, the bound of a·K·MMD; beyond it nothing pushes.")
    layer: Layer = None
    samples: int = Field(default=256, ge=2, description="Pixels of each side whose features are compared (pixels).")


class NtlDefense(Defense):
    """p·K_distill − (1 − p)·w·min(c, a·K(target)·MMD).

    K(target) is the distance, mean absolute or squared as ``retain.power`` says, of the Gaussians of target objects to
    those of the undefended generator; MMD is taken between source and target features at the bottleneck, over random
    pixels. Source: Wang et al., ICLR 2022, "Non-Transferable Learning", whose KL divergences of classes are distances
    of Gaussians here; the form with one bound over the product is second-hand (SOPHON's account of it), and w is ours.
    Known to fall to fine-tuning (Deng et al. 2024, SOPHON): where it looks strong, the attack is weak.
    """

    key: ClassVar[str] = "ntl"
    summary: ClassVar[str] = "non-transferable learning: a control that is known to fall to fine-tuning"
    source: ClassVar[str] = "Wang et al. 2022, NTL (ICLR); its fall: Deng et al. 2024, SOPHON (arXiv 2404.12699)"
    assumes: ClassVar[str] = "that outputs which are wrong at release stay wrong"
    cost: ClassVar[str] = "2 gradients"
    Config: ClassVar[type[DefenseConfig]] = NtlConfig
    config: NtlConfig
    renders_target: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ("target_distance", "mmd")
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "cap": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Find the layer, and leave the undefended weights by a hair.

        At these weights themselves the distance to them is zero and has no gradient, so that nothing would ever push.
        """
        super().prepare(context)
        self.layer = find_layer(context.model, self.config.layer, "defense.ntl.layer")
        add_noise(context, HAIR)

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step."""
        context, layer = self.context, self.layer
        with watch(context.model, [layer]) as features:
            kept = context.retained(source)
            source_features = features.by_name[layer]
            student = context.gaussians(target.images)
            target_features = features.by_name[layer]
        distance = context.distance(student, context.taught(target.images))
        random = context.generator(step, Stream.DEFENSE_SAMPLES)
        rows = [sample_rows(found.float(), self.config.samples, random) for found in (source_features, target_features)]
        apart = mmd(*rows)
        pushed = (self.config.factor * distance * apart).clamp(max=self.config.cap)
        metrics = {"target_distance": distance, "mmd": apart, "pushed": pushed}
        return mixed(context.share, kept, -self.config.weight * pushed, metrics)
