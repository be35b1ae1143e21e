"""Measuring what the checks of a data set judge, object by object, and going on where one is at fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geotrap_cli.data.base import ObjectDataset, ObjectRecord, PosedViews
from geotrap_cli.data.checks import axis_offsets, check_every_silhouette, check_poses, rotation_errors, up_heights
from geotrap_cli.data.posed import CHECKED_SIZE, PosedFiles
from geotrap_cli.errors import UsageError


@dataclass(frozen=True)
class ObjectReport:
    """What was measured of one object; None for what could not be.

    Attributes:
        id: the object.
        category: its category.
        views: number of its views.
        left_out: views that are stored and not used.
        rotation_error: largest deviation of a rotation from orthonormal; infinite for a mirrored one.
        axis_offset: largest distance of an optical axis from the origin (camera distances); infinite where a camera
            faces away.
        upright: share of the cameras whose up axis points up in the world.
        hull_share: smallest share of a view's silhouette rays that meet the visual hull of all views.
        distances: smallest and largest distance of a camera.
        fov_deg: smallest and largest horizontal field of view (degrees).
        problem: what is wrong, with the file at fault; empty where nothing is.
    """

    id: str
    category: str = ""
    views: int = 0
    left_out: int = 0
    rotation_error: float | None = None
    axis_offset: float | None = None
    upright: float | None = None
    hull_share: float | None = None
    distances: tuple[float, float] | None = None
    fov_deg: tuple[float, float] | None = None
    problem: str = ""


def inspect_objects(
    dataset: ObjectDataset,
    failures: Mapping[str, UsageError],
    progress: Callable[[int, int], None] | None = None,
) -> list[ObjectReport]:
    """Return a report on every object, sorted by id.

    Args:
        dataset: the data set.
        failures: what was wrong with objects when it was opened; they need not be among its records.
        progress: called with (objects done, objects to do).
    """
    known = {record.id: record for record in dataset.records}
    ids = sorted({*known, *failures})
    reports = []
    for done, id in enumerate(ids, start=1):
        problem = str(failures[id]) if id in failures else ""
        reports.append(_report(dataset, known[id], problem) if id in known else ObjectReport(id, problem=problem))
        if progress is not None:
            progress(done, len(ids))
    return reports


def stored_views(dataset: ObjectDataset, id: str, indices: Sequence[int], size: int) -> PosedViews:
    """Return views, where the data set can also those of an object at fault.

    Raises:
        UsageError: they cannot be read.
    """
    if isinstance(dataset, PosedFiles):
        return dataset.unchecked_views(id, indices, size)
    return dataset.views(id, indices, size)


def _report(dataset: ObjectDataset, record: ObjectRecord, problem: str) -> ObjectReport:
    report = ObjectReport(record.id, record.category, record.views, problem=problem)
    if isinstance(dataset, PosedFiles):
        table = dataset.transforms(record.id)
        stored = max(table.frames, default=record.views - 1) + 1
        report = _with_cameras(report, table.viewmats.numpy(), table.Ks.double().numpy())
        report = replace(report, left_out=stored - record.views)
        return report if problem else _judged(report, lambda: _agreement(dataset, record))
    return _of_views(dataset, report)


def _agreement(dataset: PosedFiles, record: ObjectRecord) -> float:
    """The agreement over all views; each is read, so that a damaged one is found."""
    table = dataset.transforms(record.id)
    return check_every_silhouette(*dataset.silhouettes(record.id, record.views), table.source, table.frames)


def _of_views(dataset: ObjectDataset, report: ObjectReport) -> ObjectReport:
    """The report on an object of a data set whose files are its own affair."""
    try:
        views = dataset.views(report.id, range(report.views), CHECKED_SIZE)
    except UsageError as error:
        return replace(report, problem=str(error))
    viewmats, Ks = views.cameras.viewmats.double().numpy(), views.cameras.Ks.double().numpy() / CHECKED_SIZE
    Ks[:, 2, 2] = 1.0

    def agreement() -> float:
        check_poses(viewmats, report.id)
        return check_every_silhouette(views.rgba[..., 3].numpy(), viewmats, Ks, report.id)

    return _judged(_with_cameras(report, viewmats, Ks), agreement)


def _judged(report: ObjectReport, agreement: Callable[[], float]) -> ObjectReport:
    try:
        return replace(report, hull_share=agreement())
    except UsageError as error:
        return replace(report, problem=str(error))


def _with_cameras(report: ObjectReport, viewmats: np.ndarray, Ks: np.ndarray) -> ObjectReport:
    """What poses and intrinsics for an image of width 1 say."""
    if not np.isfinite(viewmats).all() or not len(viewmats):
        return report
    distances = np.linalg.norm(viewmats[:, :3, 3], axis=-1)
    fovs = [math.degrees(2 * math.atan(0.5 / focal)) for focal in Ks[:, 0, 0]]
    return replace(
        report,
        rotation_error=float(rotation_errors(viewmats).max()),
        axis_offset=float(axis_offsets(viewmats).max()),
        upright=float((up_heights(viewmats) > 0).mean()),
        distances=(float(distances.min()), float(distances.max())),
        fov_deg=(min(fovs), max(fovs)),
    )
