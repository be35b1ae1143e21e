"""Learn from the outputs of a public generator first, then from target views."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from geotrap_attacks._public import check_same_grid, check_same_input, load_public
from geotrap_attacks._two_phases import two_phases
from geotrap_cli.attacks import Attack, AttackConfig, Phase
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.profile.base import FilePath
from geotrap_cli.render import render
from geotrap_cli.training.relative_distance import relative_distance

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext, LossTerms, ReconstructionTerms
    from geotrap_cli.data.views import ViewBatch
    from geotrap_cli.models.generator import GaussianGenerator

OPTION = "attack.teacher_outputs.teacher"
IMITATE = "imitate"


class TeacherOutputsConfig(AttackConfig):
    """Options of the attack that learns from a teacher's outputs."""

    teacher: FilePath | None = Field(
        default=None,
        description="Public generator to imitate, never the undefended weights: a diffusers folder or an official "
        ".safetensors file. The attack does not run without one.",
    )
    imitation_share: float = Field(default=1 / 3, gt=0, lt=1, description="Share of the steps that imitate.")
    match: Literal["attributes", "renders"] = Field(
        default="attributes",
        description="attributes: the teacher's Gaussians one by one, which needs the same grid of them; "
        "renders: its pictures.",
    )


class TeacherOutputsAttack(Attack):
    """Imitate a public generator on target objects for a third of the steps, then fine-tune on their views.

    ``attributes`` compares Gaussian by Gaussian: absolute difference over the teacher's mean absolute value for each
    attribute, quaternions up to sign. Its gradient passes through no renderer, so nothing is culled. ``renders`` is the
    rendering loss against the teacher's pictures, which also fits a teacher of another size.
    """

    key: ClassVar[str] = "teacher_outputs"
    summary: ClassVar[str] = "imitation of a public generator, then full fine-tuning"
    source: ClassVar[str] = "distillation from queries of another model"
    assumes: ClassVar[str] = "the released weights, target objects and the weights of a public generator"
    budget: ClassVar[str] = "attack.steps, a third of them on the teacher's outputs"
    Config: ClassVar[type[AttackConfig]] = TeacherOutputsConfig
    config: TeacherOutputsConfig

    def missing(self) -> str | None:
        """The teacher, where none is named."""
        return OPTION if self.config.teacher is None else None

    def indivisible(self) -> str | None:
        """The distance of attributes, whose scale is a mean over the whole batch."""
        return "imitation of attributes divides by a mean over a batch" if self.config.match == "attributes" else None

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """Imitate, then attack; each for one step at least.

        Raises:
            UsageError: There is one step only.
        """
        return two_phases(self, IMITATE, self.config.imitation_share, steps)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Load the teacher; no weight changes.

        Raises:
            UsageError: None is named, or its Gaussians cannot be compared one by one.
        """
        self._teacher = load_public(self.config.teacher, OPTION, context.device)
        check_same_input(self._teacher, model, OPTION)
        if self.config.match == "attributes":
            check_same_grid(self._teacher, model, OPTION)

    def loss_terms(
        self, gaussians: GaussianBatch, batch: ViewBatch, phase: Phase, reconstruction: ReconstructionTerms
    ) -> LossTerms:
        """Distance to the teacher while imitating, the rendering loss afterwards."""
        if phase.name != IMITATE:
            return reconstruction(gaussians, batch)
        with torch.no_grad():
            taught = self._teacher.forward_gaussians(batch.images)
        if self.config.match == "attributes":
            return {"teacher": attribute_distance(gaussians, taught)}
        pictures = render(taught, batch.cameras)
        return reconstruction(gaussians, replace(batch, rgb=pictures.rgb, alpha=pictures.alpha))


def attribute_distance(student: GaussianBatch, teacher: GaussianBatch) -> torch.Tensor:
    """Sum over attributes of mean |student - teacher| / mean |teacher|; q and -q are the same rotation (a scalar)."""
    total = student.activated.new_zeros(())
    for name in CHANNELS:
        own, taught = student.attribute(name), teacher.attribute(name)
        if name == "quats":
            taught = torch.where((own * taught).sum(dim=-1, keepdim=True) < 0, -taught, taught)
        total = total + relative_distance(own, taught)
    return total
