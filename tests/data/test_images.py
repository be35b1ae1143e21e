"""Decoding images: resampling by hand, and nothing unreadable gets through."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geotrap_cli.data.images import read_rgba
from geotrap_cli.errors import UsageError


def saved(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(pixels.astype(np.uint8), mode).save(path)
    return path


def test_the_own_size_is_read_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4))
    np.testing.assert_array_equal(read_rgba(saved(tmp_path / "a.png", pixels), 8), pixels)


def test_areas_are_averaged_with_premultiplied_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4))
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[0, 1] = (0, 0, 255, 255)
    # Green that nobody can see must not show.
    pixels[1] = (0, 255, 0, 0)
    (pixel,) = read_rgba(saved(tmp_path / "a.png", pixels), 1).reshape(-1, 4).tolist()
    assert pixel == pytest.approx([127, 0, 127, 127], abs=2)


def test_each_output_pixel_averages_its_own_block(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 4))
    pixels[..., 3] = 255
    small = read_rgba(saved(tmp_path / "a.png", pixels), 4)
    blocks = pixels.reshape(4, 3, 4, 3, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small, blocks, atol=1)


def test_enlarging_interpolates(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4))
    pixels[:, 1] = 255
    alpha = read_rgba(saved(tmp_path / "a.png", pixels), 8)[0, :, 3].astype(int)
    assert (np.diff(alpha) >= 0).all() and len(set(alpha.tolist())) > 3


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_an_image_without_alpha_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=rf"a\.png: {mode} image without alpha"):
        read_rgba(tmp_path / "a.png", 4)


def test_a_palette_with_transparency_has_alpha(tmp_path: Path) -> None:
    Image.new("P", (4, 4)).save(tmp_path / "a.png", transparency=0)
    assert read_rgba(tmp_path / "a.png", 4)[..., 3].max() == 0


def test_an_oblong_image_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (6, 4)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="6 x 4 is not square"):
        read_rgba(tmp_path / "a.png", 4)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.png: image not found"):
        read_rgba(tmp_path / "a.png", 4)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.95))
def test_a_truncated_image_is_an_error_wherever_it_ends(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4)).astype(np.uint8)
    whole = BytesIO()
    Image.fromarray(pixels).save(whole, format="PNG")
    path = tmp_path_factory.mktemp("cut") / "a.png"
    path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    with pytest.raises(UsageError, match=r"a\.png: damaged image"):
        read_rgba(path, 16)
