"""Score a generator on held-out objects: input views in, Gaussians rendered into novel views, metrics per object.

The views depend on the data set, the object and the seed alone, so two models meet exactly the same pixels and their
scores may be compared object by object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from geotrap_cli.data.base import ObjectDataset, ObjectRecord
from geotrap_cli.data.views import ViewBatch, evaluation_batches
from geotrap_cli.errors import GeotrapError, NonFiniteError
from geotrap_cli.evaluation import metrics
from geotrap_cli.evaluation.bootstrap import group_means
from geotrap_cli.evaluation.perceptual import LpipsTerm
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.base import Generator
from geotrap_cli.render import Rendered, render

if TYPE_CHECKING:
    from geotrap_cli.profile.schema import Profile

HEADLINE = "foreground_psnr"
"""The metric that recovery and verdicts are about."""
FLOOR = "white_foreground_psnr"
"""The headline metric of an all-white image on the same views."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is rendered for a score.

    Attributes:
        views: Novel views of each object.
        batch_size: Objects in one forward pass; no score depends on it beyond rounding.
        input_size: Side of the generator's input images, pixels.
        output_size: Side of the compared images, pixels.
        seed: Seed of the choice of views.
        autocast: Number format of the network's forward pass, None for its own. Rendering stays in float32.
    """

    views: int
    batch_size: int
    input_size: int
    output_size: int
    seed: int = 0
    autocast: torch.dtype | None = None

    @classmethod
    def from_profile(cls, profile: Profile, input_size: int, output_size: int) -> EvaluationSettings:
        """Return the settings of the profile's ``[eval]`` table."""
        table = profile.eval
        return cls(table.views, table.batch_size, input_size, output_size, profile.data.seed)


@dataclass(frozen=True)
class ObjectScore:
    """One object's metrics, each the mean over its views."""

    id: str
    group: str
    category: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class ObjectRenders:
    """What one object's score was computed from, on the CPU: images ``[S, H, W, 3]`` and alpha ``[S, H, W]``."""

    rgb: Tensor
    alpha: Tensor
    gt_rgb: Tensor
    gt_alpha: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Scores in the order of the ids, and the renders of the first ones by id."""

    scores: list[ObjectScore]
    renders: dict[str, ObjectRenders] = field(default_factory=dict)

    @property
    def groups(self) -> list[str]:
        """The group of each object, for pairing and resampling."""
        return [score.group for score in self.scores]

    def values(self, metric: str) -> list[float]:
        """Return one metric of every object."""
        return [score.metrics[metric] for score in self.scores]

    def means(self) -> dict[str, float]:
        """Return every metric's mean over groups, the objects of a group being averaged first."""
        return {name: float(group_means(self.values(name), self.groups).mean()) for name in self.scores[0].metrics}


def evaluate(
    model: Generator,
    dataset: ObjectDataset,
    ids: Sequence[str],
    settings: EvaluationSettings,
    *,
    device: torch.device | str = "cpu",
    keep_renders: int = 0,
    scorer: LpipsTerm | None = None,
) -> Evaluation:
    """Score ``model`` on the objects ``ids`` without gradients; its training mode is restored.

    Metrics: ``foreground_psnr``, ``psnr``, ``ssim``, ``alpha_iou``, ``white_foreground_psnr`` (the floor), and, when a
    scorer is given, the one it is called after.

    Args:
        model: The generator, on ``device``.
        dataset: Where the views come from.
        ids: The objects, by id.
        settings: What is rendered.
        device: Where to compute.
        keep_renders: Number of objects, from the first, whose renders are kept.
        scorer: LPIPS, on ``device``.

    Raises:
        UsageError: No ids, an unknown id, or an object with too few views.
        NonFiniteError: The model gave NaN or infinite Gaussians for an object.
        GeotrapError: An object is invisible in all its views.
    """
    records = {record.id: record for record in dataset.records}
    result = Evaluation([])
    with torch.no_grad(), evaluation_mode(model):
        for batch in _batches(dataset, ids, settings):
            truth, rendered = _render(model, batch, settings, device)
            per_view = _per_view_metrics(rendered, truth, scorer)
            for index, id in enumerate(batch.ids):
                result.scores.append(_object_score(records[id], {k: v[index] for k, v in per_view.items()}))
                if len(result.renders) < keep_renders:
                    pictures = (rendered.rgb, rendered.alpha, truth.rgb, truth.alpha)
                    result.renders[id] = ObjectRenders(*(picture[index].cpu() for picture in pictures))
    return result


@contextlib.contextmanager
def evaluation_mode(model: Generator | nn.Module) -> Iterator[None]:
    """Put ``model`` into evaluation mode, and every part of it back into its own mode afterwards."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _batches(dataset: ObjectDataset, ids: Sequence[str], settings: EvaluationSettings) -> Iterator[ViewBatch]:
    return evaluation_batches(
        dataset,
        ids,
        input_size=settings.input_size,
        output_size=settings.output_size,
        views=settings.views,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def _render(
    model: Generator, batch: ViewBatch, settings: EvaluationSettings, device: torch.device | str
) -> tuple[Rendered, Rendered]:
    """Return the ground truth and the model's pictures of a batch, both on ``device``."""
    batch = batch.to(device)
    kind = torch.device(device).type
    with torch.autocast(kind, dtype=settings.autocast, enabled=settings.autocast is not None):
        gaussians = model.forward_gaussians(batch.images)
    _check_finite(gaussians, batch.ids)
    return Rendered(batch.rgb, batch.alpha), render(gaussians, batch.cameras)


def _check_finite(gaussians: GaussianBatch, ids: Sequence[str]) -> None:
    bad = ~gaussians.activated.isfinite().flatten(1).all(1)
    if bad.any():
        name = ids[int(bad.nonzero()[0])]
        raise NonFiniteError(
            f"the model gives NaN or infinite Gaussians for object {name!r}",
            hint="The weights have diverged: lower the learning rate, or evaluate an earlier checkpoint",
        )


def _per_view_metrics(rendered: Rendered, truth: Rendered, scorer: LpipsTerm | None) -> dict[str, Tensor]:
    values = {
        HEADLINE: metrics.foreground_psnr(rendered.rgb, truth.rgb, truth.alpha),
        "psnr": metrics.whole_psnr(rendered.rgb, truth.rgb),
        "ssim": metrics.ssim(rendered.rgb, truth.rgb),
        "alpha_iou": metrics.alpha_iou(rendered.alpha, truth.alpha),
        FLOOR: metrics.white_floor(truth.rgb, truth.alpha),
    }
    if scorer is not None:
        values[scorer.name] = scorer(rendered.rgb, truth.rgb)
    return values


def _object_score(record: ObjectRecord, per_view: dict[str, Tensor]) -> ObjectScore:
    if per_view[FLOOR].isnan().all():
        raise GeotrapError(
            f"object {record.id!r} is invisible in all {len(per_view[FLOOR])} evaluated views",
            hint="Check its alpha channel, or leave the object out",
        )
    means = {name: metrics.defined_mean(values) for name, values in per_view.items()}
    return ObjectScore(record.id, record.group, record.category, means)
