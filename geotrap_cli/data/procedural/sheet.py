"""Contact sheets: what the data set looks like, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from geotrap_cli.atomic import atomic_path
from geotrap_cli.data.base import ObjectDataset, ObjectRecord

MARGIN, LABEL_HEIGHT = 2, 14


def contact_sheet(
    dataset: ObjectDataset,
    path: str | Path,
    per_category: int = 8,
    categories: Sequence[str] | None = None,
    view: int = 9,
    size: int = 64,
) -> None:
    """Write a PNG with one labelled row per category and its first objects side by side.

    Args:
        dataset: Where the objects come from.
        path: PNG file to write.
        per_category: Objects in a row.
        categories: Rows; default: every category in the data set's order.
        view: View index shown of every object.
        size: Picture size in pixels.

    """
    names = list(categories or dict.fromkeys(record.category for record in dataset.records))
    cell = size + MARGIN
    sheet = Image.new("RGB", (cell * per_category, (cell + LABEL_HEIGHT) * len(names)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        top = row * (cell + LABEL_HEIGHT)
        draw.text((MARGIN, top), name, fill="black")
        chosen = [record for record in dataset.records if record.category == name][:per_category]
        for column, record in enumerate(chosen):
            picture = _picture(dataset, record, view, size)
            sheet.paste(picture, (column * cell, top + LABEL_HEIGHT), picture)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _picture(dataset: ObjectDataset, record: ObjectRecord, view: int, size: int) -> Image.Image:
    rgba = dataset.views(record.id, [view], size).rgba[0]
    return Image.fromarray((rgba * 255.0).round().byte().numpy(), "RGBA")
