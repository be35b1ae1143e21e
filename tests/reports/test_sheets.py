from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.reports.sheets import contact_sheet, psnr_caption

COLUMNS = ["ground truth", "undefended, attacked", "defended, attacked"]


def flat(*colour: float) -> Tensor:
    return torch.tensor(colour).expand(20, 30, 3)


RED, GREEN, BLUE = flat(1, 0, 0), flat(0, 1, 0), flat(0, 0, 1)
ROWS: list[list[Tensor | None]] = [[RED, GREEN, BLUE], [BLUE, RED, None]]
CAPTIONS = [["", "24.1 dB", "13.0 dB"], ["", "22.0 dB", "n/a"]]


def sheet(path: Path, **options: object) -> np.ndarray:
    contact_sheet(COLUMNS, ROWS, CAPTIONS, path, **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(path))


def boxes(pixels: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Upper left corners (row, column) of the pure-coloured pictures."""
    mask = (pixels == colour).all(-1)
    start = mask & ~np.roll(mask, 1, 0) & ~np.roll(mask, 1, 1)
    return [(int(y), int(x)) for y, x in np.argwhere(start)]


def test_pictures_stand_where_their_row_and_column_say(tmp_path: Path) -> None:
    pixels = sheet(tmp_path / "a.png")
    red, green, blue = (boxes(pixels, c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    assert [len(red), len(green), len(blue)] == [2, 1, 2]
    assert red[0][0] == green[0][0] == blue[0][0] < red[1][0] == blue[1][0]
    assert red[0][1] == blue[1][1] < green[0][1] == red[1][1] < blue[0][1]


@pytest.mark.parametrize("scale", [1, 3])
def test_pictures_are_enlarged_by_a_whole_factor(tmp_path: Path, scale: int) -> None:
    pixels = sheet(tmp_path / "a.png", scale=scale)
    assert (pixels == (0, 255, 0)).all(-1).sum() == 20 * 30 * scale**2


def test_pixels_keep_their_place_and_their_channels(tmp_path: Path) -> None:
    picture = torch.ones(8, 8, 3)
    picture[1, 6] = torch.tensor([1.0, 0.0, 0.0])
    contact_sheet(["a"], [[picture]], [[""]], tmp_path / "a.png", scale=4)
    red = np.argwhere((np.asarray(Image.open(tmp_path / "a.png")) == (255, 0, 0)).all(-1))
    corner = red.min(0) - np.array([4, 24])
    assert len(red) == 16
    assert tuple(np.asarray(Image.open(tmp_path / "a.png"))[corner[0] - 1, corner[1]]) == (0xD0, 0xD0, 0xD0)


def ink(pixels: np.ndarray) -> np.ndarray:
    return (pixels.max(-1).astype(int) < 128) & (np.ptp(pixels.astype(int), axis=-1) < 10)


def test_captions_headers_and_missing_pictures_are_written(tmp_path: Path) -> None:
    full = sheet(tmp_path / "full.png")
    contact_sheet(COLUMNS, ROWS, [["", "", ""]] * 2, tmp_path / "bare.png")
    bare = np.asarray(Image.open(tmp_path / "bare.png"))
    top = boxes(full, (255, 0, 0))[0][0]
    assert ink(full)[: top - 2].sum() > 100
    assert ink(full).sum() > ink(bare).sum() > ink(full)[:top].sum()


def test_text_never_leaves_its_column(tmp_path: Path) -> None:
    """A long header is broken, also where it has no space, so that no ink stands between two columns."""
    rows: list[list[Tensor | None]] = [[RED, RED]]
    contact_sheet(["ground_truth_with_a_very_long_name", "b c d e f g h i j k"], rows, [["1", "2"]], tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    (_, first), (_, second) = boxes(pixels, (255, 0, 0))
    assert ink(pixels)[:, first + 90 + 2 : second - 2].sum() == 0
    assert ink(pixels)[:, : first - 2].sum() == 0


def test_row_labels_stand_left_of_the_pictures(tmp_path: Path) -> None:
    pixels = sheet(tmp_path / "a.png", row_labels=["knife/0012", "mug/a_very_long_object_name_that_is_broken"])
    left = boxes(pixels, (255, 0, 0))[0][1]
    assert 60 < left < 200
    assert ink(pixels)[:, : left - 2].sum() > 100


def test_same_input_same_bytes(tmp_path: Path) -> None:
    sheet(tmp_path / "a.png")
    sheet(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("rows", "captions", "match"),
    [
        ([[RED, RED]], [["", "", ""]], "one picture and one caption"),
        ([[RED, RED, RED]], [["", ""]], "one picture and one caption"),
        ([[RED, RED, torch.ones(10, 10, 3)]], [["", "", ""]], "one size"),
        ([[None, None, None]], [["", "", ""]], "one size"),
        ([[RED, RED, RED.movedim(-1, 0)]], [["", "", ""]], r"\[H, W, 3\]"),
        ([[RED, RED, RED * math.nan]], [["", "", ""]], "NaN"),
        ([], [], "one size"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, rows: list[list[Tensor | None]], captions: list[list[str]], match: str
) -> None:
    with pytest.raises(GeotrapError, match=match):
        contact_sheet(COLUMNS, rows, captions, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_psnr_caption() -> None:
    assert psnr_caption(13.04) == "13.0 dB"
    assert psnr_caption(math.inf) == "inf dB"
    assert psnr_caption(math.nan) == "n/a"
