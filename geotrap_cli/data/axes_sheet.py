"""A contact sheet with the world's axes drawn into every view: a wrong pose shows at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from geotrap_cli.atomic import atomic_path
from geotrap_cli.data.base import ObjectDataset, PosedViews
from geotrap_cli.data.inspection import ObjectReport, stored_views
from geotrap_cli.errors import UsageError

CELL, MARGIN, LABEL = 128, 4, 15
COLUMNS = 8
AXES = (("x", (214, 39, 40)), ("y", (0, 140, 40)), ("z", (31, 90, 220)))
AXIS_LENGTH = 0.28
"""Length of a drawn axis in distances of the camera from the origin."""
_FINE, _FAULT, _EMPTY = (40, 40, 40), (200, 0, 0), (225, 225, 225)


def write_axes_sheet(dataset: ObjectDataset, reports: Sequence[ObjectReport], path: Path) -> None:
    """Write a PNG with a row of eight views for each object, on white, with x red, y (up) green and z blue.

    Args:
        dataset: where the views come from.
        reports: the objects, in the order of the rows; one at fault is labelled with what is wrong.
        path: the file.

    Raises:
        OSError: the file cannot be written.
    """
    row = CELL + LABEL + MARGIN
    sheet = Image.new("RGB", (COLUMNS * (CELL + MARGIN) + MARGIN, row * len(reports) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, report in enumerate(reports):
        top = place * row + MARGIN
        label = f"{report.id}   {report.problem}" if report.problem else report.id
        draw.text((MARGIN, top), label[:170], fill=_FAULT if report.problem else _FINE)
        for column, cell in enumerate(_cells(dataset, report)):
            sheet.paste(cell, (MARGIN + column * (CELL + MARGIN), top + LABEL))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def axis_ends(viewmat: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Pixels of the origin and of the ends of the three axes, ``[4, 2]``; NaN for a point behind the camera."""
    length = AXIS_LENGTH * np.linalg.norm(viewmat[:3, 3])
    points = np.vstack((np.zeros(3), length * np.eye(3)))
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    image = local @ K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(local[:, 2:] > 0, image[:, :2] / image[:, 2:], np.nan)


def _cells(dataset: ObjectDataset, report: ObjectReport) -> list[Image.Image]:
    """Pictures of views spread over those of the object; grey where one cannot be read."""
    chosen = np.linspace(0, report.views - 1, min(report.views, COLUMNS)).round().astype(int)
    return [_cell(dataset, report.id, int(index)) for index in chosen]


def _cell(dataset: ObjectDataset, id: str, index: int) -> Image.Image:
    try:
        views = stored_views(dataset, id, [index], CELL)
    except UsageError:
        cell = Image.new("RGB", (CELL, CELL), _EMPTY)
        ImageDraw.Draw(cell).text((MARGIN, CELL // 2), f"{index}: not readable", fill=_FAULT)
        return cell
    cell = _on_white(views)
    _draw_axes(cell, views, index)
    return cell


def _on_white(views: PosedViews) -> Image.Image:
    rgba = views.rgba[0].numpy()
    # Half faded, so that the axes show on every object.
    alpha = 0.6 * rgba[..., 3:]
    return Image.fromarray(np.rint(255 * (rgba[..., :3] * alpha + 1 - alpha)).astype(np.uint8))


def _draw_axes(cell: Image.Image, views: PosedViews, index: int) -> None:
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, CELL - 1, CELL - 1), outline=_EMPTY)
    draw.text((3, 1), str(index), fill=_FINE)
    ends = axis_ends(views.cameras.viewmats[0].double().numpy(), views.cameras.Ks[0].double().numpy())
    for (name, colour), end in zip(AXES, ends[1:], strict=True):
        if np.isfinite(ends[0]).all() and np.isfinite(end).all():
            draw.line((*ends[0], *end), fill=colour, width=2)
            draw.text((end[0] + 2, end[1] - 6), name, fill=colour)
