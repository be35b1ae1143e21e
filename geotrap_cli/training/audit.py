"""After a defense: how deep the traps are on objects the defense never saw, and what they cost and rest on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from geotrap_cli.data.views import ViewBatch, evaluation_batches
from geotrap_cli.evaluation.audit import (
    GRADIENT_DEFENDED,
    GRADIENT_UNDEFENDED,
    WEIGHT_CHANGE,
    EnergyShares,
    TrapAudit,
    TrapDepths,
)
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED
from geotrap_cli.evaluation.geometry import GeometryRecorder, GeometryState
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.drift import attribute_drift
from geotrap_cli.training.shortcut import change_energies, gradient_energies
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench

#: Objects on which the traps' gradient is taken: a backward pass each, under both sets of weights.
SHORTCUT_OBJECTS = 8


def audit_defense(
    bench: Workbench,
    traps: TrapSet | None,
    model: GaussianGenerator,
    teacher: GaussianGenerator,
    trained: Collection[str],
) -> TrapAudit:
    """Measure a finished defense.

    Args:
        bench: Data and settings.
        traps: The traps of the profile, whether the defense minimised them or not; None where it has none.
        model: The defended generator.
        teacher: The undefended one.
        trained: Names of the tensors that the defense trained.

    Raises:
        NonFiniteError: Gaussians or gradients are NaN or infinite.
    """
    depths, geometry = measure_target(bench, traps, model, teacher)
    drift, by_attribute = measure_drift(bench, model, teacher)
    shortcut = measure_shortcut(bench, traps, model, teacher, trained)
    return TrapAudit(depths, drift, by_attribute, geometry, shortcut)


@torch.no_grad()
def measure_target(
    bench: Workbench, traps: TrapSet | None, model: GaussianGenerator, teacher: GaussianGenerator
) -> tuple[list[TrapDepths], dict[str, GeometryState]]:
    """Return the depth of every trap and the geometry under both sets of weights, on eval-target objects."""
    rows: dict[str, list[dict[str, torch.Tensor]]] = {key: [] for key in (traps.traps if traps else ())}
    recorders = {UNDEFENDED: GeometryRecorder(), DEFENDED: GeometryRecorder()}
    for ids, defended, undefended in _pairs(bench, bench.splits.eval_target, model, teacher):
        recorders[UNDEFENDED].see(undefended, ids)
        recorders[DEFENDED].see(defended, ids)
        for key, depth in (traps.depths(defended, undefended) if traps else {}).items():
            rows[key].append(depth)
    states = {name: recorder.report() for name, recorder in recorders.items()}
    measured = {name: state for name, state in states.items() if state is not None}
    return [_summarise(key, depths) for key, depths in rows.items()], measured


@torch.no_grad()
def measure_drift(
    bench: Workbench, model: GaussianGenerator, teacher: GaussianGenerator
) -> tuple[float, dict[str, float]]:
    """Return how far the outputs on source-eval objects moved: over all activated channels, and by attribute.

    The first is the mean absolute difference of the channels, the others what
    :func:`~geotrap_cli.training.drift.attribute_drift` says; both are means over objects.
    """
    drift, objects = 0.0, 0
    attributes: dict[str, list[torch.Tensor]] = {}
    for ids, defended, undefended in _pairs(bench, bench.splits.source_eval, model, teacher):
        # The last batch may be smaller: every object counts once, not every batch.
        drift += float((defended.activated - undefended.activated).abs().mean()) * len(ids)
        objects += len(ids)
        for name, moved in attribute_drift(defended, undefended).items():
            attributes.setdefault(name, []).append(moved)
    return drift / objects, {name: float(torch.cat(moved).mean()) for name, moved in attributes.items()}


def measure_shortcut(
    bench: Workbench,
    traps: TrapSet | None,
    model: GaussianGenerator,
    teacher: GaussianGenerator,
    trained: Collection[str],
) -> dict[str, EnergyShares | None]:
    """Return how the gradient of the aggregated traps, and the change of the weights, spread over the tensors.

    The gradient is that of a single defense-target object, its energy the mean over at most ``SHORTCUT_OBJECTS``; there
    is none without traps.
    """

    def shares(generator: GaussianGenerator) -> EnergyShares | None:
        if traps is None:
            return None
        batches = _batches(bench, shortcut_objects(bench), batch_size=1)
        images = (batch.to(bench.device).images for batch in batches)
        energies = gradient_energies(generator, images, lambda batch: traps.aggregate(traps.losses(batch)))
        return EnergyShares.of(energies, trained)

    return {
        GRADIENT_UNDEFENDED: shares(teacher),
        GRADIENT_DEFENDED: shares(model),
        WEIGHT_CHANGE: EnergyShares.of(change_energies(model, teacher), trained),
    }


def shortcut_objects(bench: Workbench) -> list[str]:
    """Return the defense-target objects on which the traps' gradient is taken."""
    return bench.draw(bench.splits.defense_target)[:SHORTCUT_OBJECTS]


def _pairs(
    bench: Workbench, ids: tuple[str, ...], model: GaussianGenerator, teacher: GaussianGenerator
) -> Iterator[tuple[Sequence[str], GaussianBatch, GaussianBatch]]:
    """Yield what both generators make of the drawn objects, batch by batch, behind their ids."""
    for batch in _batches(bench, bench.draw(ids), bench.profile.eval.batch_size):
        images = batch.to(bench.device).images
        yield batch.ids, model.forward_gaussians(images), teacher.forward_gaussians(images)


def _batches(bench: Workbench, ids: list[str], batch_size: int) -> Iterator[ViewBatch]:
    views = bench.profile.eval.views
    sizes = (bench.input_size, bench.output_size)
    return evaluation_batches(bench.dataset, ids, *sizes, views, batch_size, bench.seed, bench.input_views)


def _summarise(key: str, depths: list[dict[str, torch.Tensor]]) -> TrapDepths:
    joined = {name: torch.cat([depth[name] for depth in depths]) for name in depths[0]}
    raw, relative = joined["raw"].mean(), joined["relative"].mean()
    visible = joined["weighted"][~joined["weighted"].isnan()]
    mean = float(visible.mean()) if len(visible) else None
    return TrapDepths(key, float(raw - relative), float(raw), mean, float(relative))
