"""Score a generator on held-out objects: input views in, Gaussians rendered into novel views, metrics per object.

The views depend on the data set, the object and the seed alone, so two models meet exactly the same pixels and their
scores may be compared object by object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from geotrap_cli.cameras import Cameras
from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.views import ViewBatch, evaluation_batches
from geotrap_cli.errors import GeotrapError, NonFiniteError
from geotrap_cli.evaluation import metrics
from geotrap_cli.evaluation.bootstrap import group_means
from geotrap_cli.evaluation.clouds import Points, cloud_metrics, visible_points
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
Observer = Callable[[GaussianBatch, Sequence[str]], None]
"""Is shown the Gaussians of a batch and the ids of its objects."""


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
        input_views: Views that go into the generator.
    """

    views: int
    batch_size: int
    input_size: int
    output_size: int
    seed: int = 0
    autocast: torch.dtype | None = None
    input_views: int = 4

    @classmethod
    def from_profile(
        cls, profile: Profile, input_size: int, output_size: int, input_views: int = 4
    ) -> EvaluationSettings:
        """Return the settings of the profile's ``[eval]`` table."""
        table = profile.eval
        return cls(table.views, table.batch_size, input_size, output_size, profile.data.seed, input_views=input_views)


@dataclass(frozen=True)
class ObjectScore:
    """One object's metrics, each the mean over its views."""

    id: str
    group: str
    category: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class ObjectRenders:
    """What one object's score was computed from, on the CPU: images ``[S, H, W, 3]`` and alpha ``[S, H, W]``.

    Attributes:
        rgb: The rendered images.
        alpha: The rendered alpha.
        gt_rgb: The true images.
        gaussians: What was rendered, activated, ``[N, 14]``.
        cameras: From where, ``S`` cameras.
    """

    rgb: Tensor
    alpha: Tensor
    gt_rgb: Tensor
    gaussians: Tensor
    cameras: Cameras


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
    references: Mapping[str, Points] | None = None,
    observe: Observer | None = None,
) -> Evaluation:
    """Score ``model`` on the objects ``ids`` without gradients; its training mode is restored.

    Metrics: ``foreground_psnr``, ``psnr``, ``ssim``, ``alpha_iou``, ``white_foreground_psnr`` (the floor); with a
    scorer also the one it is called after, with references also ``chamfer`` and ``fscore``.

    Args:
        model: The generator, on ``device``.
        dataset: Where the views come from.
        ids: The objects, by id.
        settings: What is rendered.
        device: Where to compute.
        keep_renders: Number of objects, from the first, whose renders are kept.
        scorer: LPIPS, on ``device``.
        references: What :func:`reference_clouds` gave for these objects and settings.
        observe: Is shown what the model makes of each batch.

    Raises:
        UsageError: No ids, an unknown id, or an object with too few views.
        NonFiniteError: The model gave NaN or infinite Gaussians for an object.
        GeotrapError: An object is invisible in all its views.
    """
    records = {record.id: record for record in dataset.records}
    result = Evaluation([])
    with torch.no_grad(), evaluation_mode(model):
        for batch in _batches(dataset, ids, settings):
            batch = batch.to(device)
            gaussians = _reconstruct(model, batch, settings)
            if observe is not None:
                observe(gaussians, batch.ids)
            truth, rendered = Rendered(batch.rgb, batch.alpha), render(gaussians, batch.cameras)
            per_view = _per_view_metrics(rendered, truth, scorer)
            shapes = _shape_metrics(gaussians, batch.ids, references)
            for index, id in enumerate(batch.ids):
                pictures = _view_means(id, {name: values[index] for name, values in per_view.items()})
                record = records[id]
                result.scores.append(ObjectScore(id, record.group, record.category, {**pictures, **shapes[index]}))
                if len(result.renders) < keep_renders:
                    result.renders[id] = _object_renders(index, batch, gaussians, rendered)
    return result


def reference_clouds(
    model: Generator,
    dataset: ObjectDataset,
    ids: Sequence[str],
    settings: EvaluationSettings,
    *,
    device: torch.device | str = "cpu",
) -> dict[str, Points]:
    """Return the visible points of what ``model`` reconstructs of each object, from the views that scores use.

    Raises:
        UsageError: No ids, an unknown id, or an object with too few views.
        NonFiniteError: The model gave NaN or infinite Gaussians for an object.
    """
    clouds: dict[str, Points] = {}
    with torch.no_grad(), evaluation_mode(model):
        for batch in _batches(dataset, ids, settings):
            points = visible_points(_reconstruct(model, batch.to(device), settings))
            clouds |= dict(zip(batch.ids, points, strict=True))
    return clouds


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
        input_views=settings.input_views,
    )


def _reconstruct(model: Generator, batch: ViewBatch, settings: EvaluationSettings) -> GaussianBatch:
    with torch.autocast(batch.images.device.type, dtype=settings.autocast, enabled=settings.autocast is not None):
        gaussians = model.forward_gaussians(batch.images)
    _check_finite(gaussians, batch.ids)
    return gaussians


def _check_finite(gaussians: GaussianBatch, ids: Sequence[str]) -> None:
    bad = ~gaussians.activated.isfinite().flatten(1).all(1)
    if bad.any():
        name = ids[int(bad.nonzero()[0])]
        raise NonFiniteError(
            f"the model gives NaN or infinite Gaussians for object {name!r}",
            hint="The weights have diverged: lower the learning rate, or evaluate an earlier checkpoint",
        )


def _object_renders(index: int, batch: ViewBatch, gaussians: GaussianBatch, rendered: Rendered) -> ObjectRenders:
    views = batch.cameras
    return ObjectRenders(
        rgb=rendered.rgb[index].cpu(),
        alpha=rendered.alpha[index].cpu(),
        gt_rgb=batch.rgb[index].cpu(),
        gaussians=gaussians.activated[index].cpu(),
        cameras=replace(views, viewmats=views.viewmats[index], Ks=views.Ks[index]).to("cpu"),
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


def _shape_metrics(
    gaussians: GaussianBatch, ids: Sequence[str], references: Mapping[str, Points] | None
) -> list[dict[str, float]]:
    if references is None:
        return [{} for _ in ids]
    return [cloud_metrics(points, references[id]) for id, points in zip(ids, visible_points(gaussians), strict=True)]


def _view_means(id: str, per_view: dict[str, Tensor]) -> dict[str, float]:
    if per_view[FLOOR].isnan().all():
        raise GeotrapError(
            f"object {id!r} is invisible in all {len(per_view[FLOOR])} evaluated views",
            hint="Check its alpha channel, or leave the object out",
        )
    return {name: metrics.defined_mean(values) for name, values in per_view.items()}
