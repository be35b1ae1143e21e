"""How well a generator reconstructs objects it never saw: the figures of the model card, beside a white image.

Run ``python benchmarks/reconstruction.py``, or with ``--weights FOLDER --objects128 FOLDER``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.splits import split_objects
from geotrap_cli.data.views import ViewSampler, evaluation_batches
from geotrap_cli.evaluation import metrics
from geotrap_cli.evaluation.evaluate import EvaluationSettings, evaluate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator

OBJECTS128_TARGET = ("sword", "axe", "dagger", "crossbow", "staff", "arrow")
#: Novel views of each object.
VIEWS = 8


def white_scores(dataset: ObjectDataset, ids: Sequence[str], settings: EvaluationSettings) -> tuple[float, float]:
    """Return whole-image PSNR and SSIM of a white image on the evaluated views."""
    psnr, ssim = [], []
    for batch in evaluation_batches(
        dataset, ids, settings.input_size, settings.output_size, settings.views, settings.batch_size, settings.seed
    ):
        white = torch.ones_like(batch.rgb)
        psnr.append(metrics.whole_psnr(white, batch.rgb).mean(dim=1))
        ssim.append(metrics.ssim(white, batch.rgb).mean(dim=1))
    return float(torch.cat(psnr).mean()), float(torch.cat(ssim).mean())


def row(name: str, model: LGM, dataset: ObjectDataset, ids: Sequence[str]) -> str:
    """Return one line of the table."""
    config = model.config
    settings = EvaluationSettings(VIEWS, 8, config.input_size, config.output_size)
    means = evaluate(model, dataset, ids, settings).means()
    white_psnr, white_ssim = white_scores(dataset, ids, settings)
    return (
        f"| {name} | {len(ids)} | {means['foreground_psnr']:.2f} ({means['white_foreground_psnr']:.2f}) "
        f"| {means['psnr']:.2f} ({white_psnr:.2f}) | {means['ssim']:.3f} ({white_ssim:.3f}) |"
    )


def depth_errors(model: LGM, dataset: ObjectDataset, ids: Sequence[str]) -> tuple[float, float, float]:
    """Mean distance, in world units, from the surface point that a cell of the splat grid sees to its Gaussian.

    Returns:
        The distance along the ray, that across the ray, and the distance along the ray of Gaussians that all lie at
        the median depth of their object: what a generator reaches that cannot tell depth.
    """
    sampler = ViewSampler(
        dataset, ids, model.input_size, model.output_size, 1, 0, surface=True, surface_size=model.splat_size
    )
    errors = torch.cat([_distances(model, sampler.batch(step, 1)) for step in range(len(ids))], dim=1)
    along, across, constant = errors.double().mean(dim=1).tolist()
    return along, across, constant


def _distances(model: LGM, batch: ViewBatch) -> Tensor:
    """The three distances [3, n] of the n cells that see a surface."""
    assert batch.surface_points is not None and batch.surface_mask is not None
    seen = batch.surface_mask.flatten()
    rays = F.adaptive_avg_pool2d(batch.images[0, :, 3:], model.splat_size).movedim(1, -1).reshape(-1, 6)[seen]
    directions = F.normalize(rays[:, 3:], dim=-1)
    nearest = torch.cross(directions, rays[:, :3], dim=-1)  # the ray's point nearest to the origin
    points = batch.surface_points.reshape(-1, 3)[seen]
    with torch.no_grad():
        error = model(batch.images)[0, :, :3][seen] - points
    along = (error * directions).sum(dim=-1)
    across = (error - along[:, None] * directions).norm(dim=-1)
    depth = ((points - nearest) * directions).sum(dim=-1)
    return torch.stack((along.abs(), across, (depth - depth.median()).abs()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--objects128", default=os.environ.get("GEOTRAP_OBJECTS128"))
    parser.add_argument("--objects", type=int, default=10_000, help="at most so many objects of each row")
    options = parser.parse_args()
    model = load_generator(options.preset, options.weights)
    procedural = open_dataset("procedural", {})
    splits = split_objects(procedural.records, procedural.default_target, procedural.default_benign, 0)  # type: ignore[attr-defined]
    sets = [
        ("procedural, held-out source objects", procedural, splits.source_eval),
        ("procedural, target categories", procedural, splits.eval_target),
    ]
    if options.objects128:
        real = open_dataset("blender", {"root": options.objects128})
        parts = split_objects(real.records, OBJECTS128_TARGET, ("food",), 0)
        sets += [
            ("objects128, source categories", real, (*parts.source_train, *parts.source_eval)),
            ("objects128, target categories", real, (*parts.defense_target, *parts.attack_target, *parts.eval_target)),
        ]
    print("| objects | number | foreground PSNR, dB (white) | whole-image PSNR, dB (white) | SSIM (white) |")
    print("|---|---|---|---|---|")
    for name, dataset, ids in sets:
        print(row(name, model, dataset, ids[: options.objects]), flush=True)
    along, across, constant = depth_errors(model, procedural, splits.source_eval[: options.objects])
    print(
        f"\nmeans of {sets[0][0]}: {along:.3f} off along the ray (constant depth: {constant:.3f}), {across:.3f} across"
    )


if __name__ == "__main__":
    main()
