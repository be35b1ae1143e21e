"""Contact sheets: pictures of several objects side by side, one object a row, with a caption under each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from geotrap_cli.atomic import atomic_path
from geotrap_cli.errors import GeotrapError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

INK, PAPER, FRAME = "#222222", "#ffffff", "#d0d0d0"
_FONT_SIZE = 15
_LINE = 20
_GAP = 10


@dataclass(frozen=True)
class _Layout:
    """Pixel sizes of a sheet: pictures of ``width`` x ``height``, a margin of row labels, text above and below."""

    width: int
    height: int
    label_width: int
    header_lines: int
    caption_lines: int

    def picture(self, row: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of a picture."""
        left = _GAP + self.label_width + column * (self.width + _GAP)
        top = _GAP + self.header_lines * _LINE + row * self.row_height
        return left, top

    @property
    def row_height(self) -> int:
        return self.height + self.caption_lines * _LINE + _GAP

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Return width and height of the sheet."""
        left, top = self.picture(rows, columns)
        return left, top


def contact_sheet(
    columns: Sequence[str],
    rows: Sequence[Sequence[Tensor | None]],
    captions: Sequence[Sequence[str]],
    path: str | Path,
    scale: int = 3,
    *,
    row_labels: Sequence[str] | None = None,
) -> None:
    """Write a PNG with one row of pictures per object under one header per column.

    Args:
        columns: Headers, such as ``ground truth`` or ``defended, attacked``.
        rows: For each object one picture ``[H, W, 3]`` with values in [0, 1] per column, all of one size; None draws
            an empty frame that says "not run".
        captions: The text under each picture, such as its foreground PSNR; same shape as ``rows``.
        path: A ``.png`` file, written atomically.
        scale: Whole factor by which pictures are enlarged, pixel by pixel.
        row_labels: The name of each object, shown at the left.

    Raises:
        GeotrapError: Shapes that do not fit, no picture at all, or values that are not finite.
    """
    pictures = [[None if picture is None else _to_image(picture, scale) for picture in row] for row in rows]
    width, height = _check(columns, pictures, captions, row_labels)
    font = _font()
    layout = _Layout(
        width=width,
        height=height,
        label_width=_label_width(row_labels, font),
        header_lines=max(len(_wrap(text, font, width)) for text in columns),
        caption_lines=max(len(_wrap(text, font, width)) for row in captions for text in row),
    )
    sheet = _draw(columns, pictures, captions, row_labels, layout, font)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def psnr_caption(value: float) -> str:
    """Return the caption that gives a picture's foreground PSNR."""
    return "n/a" if value != value else f"{value:.1f} dB"


def _draw(
    columns: Sequence[str],
    pictures: Sequence[Sequence[Image | None]],
    captions: Sequence[Sequence[str]],
    row_labels: Sequence[str] | None,
    layout: _Layout,
    font: FreeTypeFont | ImageFont,
) -> Image:
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", layout.size(len(pictures), len(columns)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, header in enumerate(columns):
        left, _ = layout.picture(0, column)
        _write(draw, header, (left, _GAP // 2), layout.width, font)
    for row, (line, texts) in enumerate(zip(pictures, captions, strict=True)):
        if row_labels is not None:
            _write(draw, row_labels[row], (_GAP, layout.picture(row, 0)[1]), layout.label_width - _GAP, font)
        for column, (picture, text) in enumerate(zip(line, texts, strict=True)):
            left, top = layout.picture(row, column)
            if picture is None:
                _write(draw, "not run", (left, top + layout.height // 2 - _LINE // 2), layout.width, font)
            else:
                sheet.paste(picture, (left, top))
            # Most pictures have a white background: without a frame they would have no edge on white paper.
            draw.rectangle((left - 1, top - 1, left + layout.width, top + layout.height), outline=FRAME)
            _write(draw, text, (left, top + layout.height + 2), layout.width, font)
    return sheet


def _write(draw: ImageDraw, text: str, corner: tuple[int, int], width: int, font: FreeTypeFont | ImageFont) -> None:
    for number, line in enumerate(_wrap(text, font, width)):
        left = corner[0] + (width - font.getbbox(line)[2]) / 2
        draw.text((max(left, corner[0]), corner[1] + number * _LINE), line, fill=INK, font=font)


def _wrap(text: str, font: FreeTypeFont | ImageFont, width: int) -> list[str]:
    """Break text at spaces, and a word that is too long where it must be, so that each line fits ``width`` pixels."""
    lines: list[str] = []
    current = ""
    for word in text.split():
        if current and font.getbbox(f"{current} {word}")[2] <= width:
            current = f"{current} {word}"
            continue
        if current:
            lines.append(current)
        while font.getbbox(word)[2] > width and len(word) > 1:
            fits = max((n for n in range(1, len(word)) if font.getbbox(word[:n])[2] <= width), default=1)
            lines.append(word[:fits])
            word = word[fits:]
        current = word
    return [*lines, current] if current else lines


def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size=_FONT_SIZE)


def _label_width(row_labels: Sequence[str] | None, font: FreeTypeFont | ImageFont) -> int:
    if not row_labels:
        return 0
    return min(150, int(max(font.getbbox(label)[2] for label in row_labels)) + 1) + _GAP


def _to_image(picture: Tensor, scale: int) -> Image:
    from PIL import Image

    if picture.dim() != 3 or picture.shape[-1] != 3:
        raise GeotrapError(f"a picture on a contact sheet must be [H, W, 3], got {tuple(picture.shape)}")
    if not picture.isfinite().all():
        raise GeotrapError("a picture on a contact sheet has NaN or infinite pixels")
    pixels = (picture.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()
    image = Image.fromarray(pixels)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _check(
    columns: Sequence[str],
    pictures: Sequence[Sequence[Image | None]],
    captions: Sequence[Sequence[str]],
    row_labels: Sequence[str] | None,
) -> tuple[int, int]:
    """Return the one size of all pictures."""
    lengths = {len(columns), *map(len, pictures), *map(len, captions)}
    if len(lengths) != 1 or len(captions) != len(pictures) or len(row_labels or pictures) != len(pictures):
        raise GeotrapError("a contact sheet needs one picture and one caption per column in every row")
    sizes = {picture.size for row in pictures for picture in row if picture is not None}
    if len(sizes) != 1:
        raise GeotrapError(f"the pictures of a contact sheet must have one size, got {sorted(sizes)}")
    return sizes.pop()
