"""Decoding RGBA images at a wanted size, strictly: what cannot be read is an error with the file's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from geotrap_cli.errors import UsageError

_MODES_WITH_ALPHA = ("RGBA", "LA", "RGBa", "La")
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_RENDER_AGAIN = "Render it again or remove its frame"


def read_rgba(path: Path, size: int) -> np.ndarray:
    """Read ``path`` as ``[size, size, 4]`` uint8 with straight alpha.

    A larger image is area-averaged and a smaller one interpolated, both on premultiplied alpha, so that the hidden
    colour of transparent pixels does not bleed into the object's rim.

    Raises:
        UsageError: the file is missing, damaged, not square, or has no alpha channel.
    """
    try:
        with Image.open(path) as image:
            _check(image, path)
            return np.asarray(_resized(image.convert("RGBA"), size))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: image not found", hint=_RENDER_AGAIN) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: damaged image ({error})", hint=_RENDER_AGAIN) from error


def check_complete(content: bytes, path: Path) -> None:
    """Check that the bytes of ``path`` begin and end as those of a PNG file do; its pixels are not decoded.

    Raises:
        UsageError: the file is cut short, or no PNG.
    """
    if not content.startswith(_PNG_START) or _PNG_END not in content[-64:]:
        raise UsageError(f"{path}: damaged image (not a whole PNG file)", hint=_RENDER_AGAIN)


def _check(image: Image.Image, path: Path) -> None:
    if image.mode not in _MODES_WITH_ALPHA and "transparency" not in image.info:
        hint = "Render with a transparent film (RGBA): a silhouette is not guessed from colours"
        raise UsageError(f"{path}: {image.mode} image without alpha", hint=hint)
    if image.width != image.height:
        raise UsageError(f"{path}: {image.width} x {image.height} is not square", hint="Crop or render square images")


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Pillow premultiplies RGBA images by their alpha while it resamples them."""
    if image.width == size:
        return image
    method = Image.Resampling.BOX if image.width > size else Image.Resampling.BILINEAR
    return image.resize((size, size), method)
