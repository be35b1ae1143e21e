"""Closed-form refit of the head to what the attacker's own images say, then full fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_attacks._image_targets import image_targets, released_shape
from geotrap_attacks._public import check_same_grid, load_public
from geotrap_attacks._ridge import RidgeSums
from geotrap_attacks._surgery import affine_misfit, read_head, rescale_output, write_head
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig, AttackSetting
from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, NUM_CHANNELS
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.base import FilePath

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.data.views import ViewBatch

#: Wanted raw channels [B, N, 14] of a batch, and the cells [B, N] on which all of them but opacity count.
Targets = Callable[["ViewBatch"], tuple[Tensor, Tensor]]

OPTION = "attack.head_refit.teacher"
OPACITY = list(range(*CHANNELS["opacities"].indices(NUM_CHANNELS)))
OTHERS = [channel for channel in range(NUM_CHANNELS) if channel not in OPACITY]


class HeadRefitConfig(AttackConfig):
    """Options of the attack that refits the head."""

    fits: Distinct[Literal["ridge", "affine"]] = Field(
        default=("ridge", "affine"),
        min_length=1,
        description="ridge: all weights of the head anew; affine: one gain and one bias for each of the 14 channels. "
        "Each is a cell of its own.",
    )
    penalty: float = Field(
        default=1e-3, gt=0, description="Ridge penalty, as a share of the mean variance of the features."
    )
    objects: int = Field(default=32, ge=1, description="Target objects, and source objects, drawn for the fit.")
    teacher: FilePath | None = Field(
        default=None,
        description="Public generator with the same grid whose Gaussians are fitted, never the undefended weights; "
        "without one, what the images say.",
    )

    @model_validator(mode="after")
    def _options_act(self) -> HeadRefitConfig:
        if "ridge" not in self.fits:
            self.refuse_idle(["penalty"], "acts in fit ridge only")
        return self


class HeadRefitAttack(Attack):
    """Solve for the head without a gradient step, then train every weight.

    ``conv`` after ``unet.conv_out`` is one linear map from 3x3 patches of features to 14 raw channels. ``ridge`` solves
    for it in closed form and leaves the 1x1 ``conv`` as the identity; ``affine`` keeps it and fits a gain and a bias to
    each channel.

    Targets are what the attacker has: opacity from the alpha of its images, colour from their pixels, means where each
    pixel's ray enters the visual hull of all its silhouettes, scale and rotation the opacity-weighted means of the
    released model on source objects, where it still works. Opacity is fitted on all cells, the rest on the object. With
    a public teacher, its Gaussians are the targets on all cells instead.
    """

    key: ClassVar[str] = "head_refit"
    summary: ClassVar[str] = "the head solved in closed form, then full fine-tuning"
    source: ClassVar[str] = "MLAC (Henderson et al. 2023), calibration of the last layer"
    assumes: ClassVar[str] = "the released weights, target objects with alpha and public source objects"
    budget: ClassVar[str] = "attack.steps; the fit costs forward passes only"
    Config: ClassVar[type[AttackConfig]] = HeadRefitConfig
    config: HeadRefitConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each fit."""
        return expand(self, fits=str)

    def misfit(self, setting: AttackSetting) -> str | None:
        """The head has to be one linear map to the raw channels."""
        return affine_misfit(setting)

    @torch.no_grad()
    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Fit the head.

        Raises:
            UsageError: The teacher cannot be read or has another grid.
            GeotrapError: No target object covers any cell.
        """
        _, fit = chosen(self, "fits")
        targets = self._targets(model, context)
        batches = (context.target(step, 1) for step in range(self.config.objects))
        if fit == "ridge":
            write_head(model, *ridge_head(model, batches, targets, self.config.penalty))
        else:
            rescale_output(model, *calibration(model, batches, targets))

    def _targets(self, model: GaussianGenerator, context: AttackContext) -> Targets:
        if self.config.teacher is not None:
            teacher = load_public(self.config.teacher, OPTION, context.device)
            check_same_grid(teacher, model, OPTION)
            return lambda batch: teacher_targets(teacher, batch)
        shape = released_shape(model, context, self.config.objects)
        return lambda batch: image_targets(batch, model.splat_size, shape)


def teacher_targets(teacher: GaussianGenerator, batch: ViewBatch) -> tuple[Tensor, Tensor]:
    """A teacher's raw channels [B, N, 14] with means inside the clamp and unit quaternions; all cells count."""
    gaussians = teacher.forward_gaussians(batch.images)
    targets = gaussians.require_raw().clone()
    targets[..., CHANNELS["means"]], targets[..., CHANNELS["quats"]] = gaussians.means, gaussians.quats
    return targets, torch.ones_like(targets[..., 0], dtype=torch.bool)


def ridge_head(
    model: GaussianGenerator, batches: Iterable[ViewBatch], targets: Targets, penalty: float
) -> tuple[Tensor, Tensor]:
    """Weight [14, C, 3, 3] and bias [14] of the head that fits ``targets`` best, in float64 on the CPU."""
    shape = read_head(model)[0].shape
    opacity, others = RidgeSums(shape[1:].numel(), 1, model.device), RidgeSums(shape[1:].numel(), 13, model.device)
    for batch in batches:
        wanted, counts = (tensor.flatten(0, 1) for tensor in targets(batch))
        every = torch.ones_like(counts)
        offset = 0
        for patches in feature_patches(model, batch.images):
            rows = slice(offset, offset := offset + len(patches))
            opacity.add(patches, wanted[rows, OPACITY], every[rows])
            others.add(patches, wanted[rows][:, OTHERS], counts[rows])
    coefficients, bias = torch.empty(shape[1:].numel(), NUM_CHANNELS).double(), torch.empty(NUM_CHANNELS).double()
    coefficients[:, OPACITY], bias[OPACITY] = opacity.solve(penalty)
    coefficients[:, OTHERS], bias[OTHERS] = others.solve(penalty)
    return coefficients.mT.reshape(shape), bias


def feature_patches(model: GaussianGenerator, images: Tensor) -> Iterable[Tensor]:
    """What the head sees: for each view in turn the 3x3 patches [splat_size², 9 C] around its cells."""
    kept: list[Tensor] = []
    handle = model.get_submodule(model.head_units[0]).register_forward_pre_hook(
        lambda _, inputs: kept.append(inputs[0])
    )
    try:
        model(images)
    finally:
        handle.remove()
    # One view at a time: the patches are nine times as large as the features.
    return (F.unfold(view[None], kernel_size=3, padding=1)[0].mT for view in kept[0])


def calibration(model: GaussianGenerator, batches: Iterable[ViewBatch], targets: Targets) -> tuple[Tensor, Tensor]:
    """Gain and bias [14] of each raw channel that fit ``targets`` best by least squares; gain 1 where it is constant.

    Raises:
        GeotrapError: No cell counts.
    """
    pairs = [(model(batch.images), *targets(batch)) for batch in batches]
    given, wanted = (torch.cat([pair[i].flatten(0, 1) for pair in pairs]).double() for i in (0, 1))
    counts = torch.cat([pair[2].flatten() for pair in pairs])
    if not bool(counts.any()):
        raise GeotrapError("attack.head_refit: no target object covers any cell of the grid", "Check its alpha")
    weights = counts[:, None].double().repeat(1, NUM_CHANNELS)
    weights[:, OPACITY] = 1
    weights /= weights.sum(dim=0)
    given_mean, wanted_mean = ((weights * tensor).sum(dim=0) for tensor in (given, wanted))
    variance = (weights * (given - given_mean).square()).sum(dim=0)
    covariance = (weights * (given - given_mean) * (wanted - wanted_mean)).sum(dim=0)
    gain = torch.where(variance > 0, covariance / variance.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return gain, wanted_mean - gain * given_mean
