"""Regress Gaussians onto what the attacker's own images say, then train on views."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from geotrap_attacks._image_targets import image_targets, released_shape
from geotrap_attacks._surgery import affine_misfit
from geotrap_attacks._two_phases import two_phases
from geotrap_cli.attacks import Attack, AttackConfig, AttackSetting, Phase
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.relative_distance import raw_distance

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext, LossTerms, ReconstructionTerms
    from geotrap_cli.data.views import ViewBatch

REGRESS = "regress"


class AttributeRegressionConfig(AttackConfig):
    """Options of the attack that regresses attributes."""

    regression_share: float = Field(default=0.5, gt=0, lt=1, description="Share of the steps that regress.")
    objects: int = Field(default=8, ge=1, description="Source objects whose mean scale and rotation all Gaussians get.")


class AttributeRegressionAttack(Attack):
    """Absolute differences of raw channels to what images say for half of the steps, the rendering loss afterwards.

    Targets are those of ``head_refit``: opacity from alpha, colour from pixels, means from the visual hull. No picture
    is rendered meanwhile, so that neither a culled Gaussian nor one in the wrong place lacks a gradient: what this
    attack is stopped by is in the features and not in the loss. Every attribute counts the same, relative to the mean
    size of its targets; all but opacity count where a cell lies on the object.
    """

    key: ClassVar[str] = "attribute_regression"
    summary: ClassVar[str] = "Gaussians regressed onto what images say without rendering, then full fine-tuning"
    source: ClassVar[str] = "this program, against traps that leave rendering losses without a way back"
    assumes: ClassVar[str] = "the released weights, target objects with alpha and public source objects"
    budget: ClassVar[str] = "attack.steps, half of them without rendering"
    Config: ClassVar[type[AttackConfig]] = AttributeRegressionConfig
    config: AttributeRegressionConfig

    def misfit(self, setting: AttackSetting) -> str | None:
        """Raw channels have to be those of LGM: one Gaussian a cell, with positions in the world."""
        return affine_misfit(setting)

    def indivisible(self) -> str | None:
        """The number of covered cells, by which a batch as a whole is divided."""
        return "its regression divides by the covered cells of a batch"

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """Regress, then attack; each for one step at least.

        Raises:
            UsageError: There is one step only.
        """
        return two_phases(self, REGRESS, self.config.regression_share, steps)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Measure the scale and rotation of source objects; no weight changes."""
        self._shape, self._size = released_shape(model, context, self.config.objects), model.splat_size

    def loss_terms(
        self, gaussians: GaussianBatch, batch: ViewBatch, phase: Phase, reconstruction: ReconstructionTerms
    ) -> LossTerms:
        """Distance to the targets while regressing, the rendering loss afterwards."""
        if phase.name != REGRESS:
            return reconstruction(gaussians, batch)
        targets, covered = image_targets(batch, self._size, self._shape)
        return {"regression": raw_distance(gaussians.require_raw(), targets, covered)}
