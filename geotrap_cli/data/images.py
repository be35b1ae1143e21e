"""Decoding RGBA images at a wanted size, strictly: what cannot be read is an error with the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from geotrap_cli.data.files import DataPath
from geotrap_cli.errors import UsageError

_MODES_WITH_ALPHA = ("RGBA", "LA", "RGBa", "La")
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_RENDER_AGAIN = "Render it again or remove its frame"


AlphaOf = Callable[[np.ndarray], np.ndarray]
"""From colours ``[H, W, 3]`` to coverage ``[H, W]``, both uint8."""


def read_rgba(path: DataPath, size: int, alpha_of: AlphaOf | None = None) -> np.ndarray:
    """Read ``path`` as ``[size, size, 4]`` uint8 with straight alpha.

    A larger image is area-averaged and a smaller one interpolated, both on premultiplied alpha, so that the hidden
    colour of transparent pixels does not bleed into the object's rim.

    Args:
        path: the image.
        size: side in pixels.
        alpha_of: makes the alpha of an image that has none; without it such an image is an error.

    Raises:
        UsageError: the file is missing, damaged, not square, or has no alpha channel.
    """
    with _opened(path) as image:
        _check_square(image, path)
        if not has_alpha(image):
            if alpha_of is None:
                hint = "Render with a transparent film (RGBA): a silhouette is not guessed from colours"
                raise UsageError(f"{path}: {image.mode} image without alpha", hint=hint)
            image = _with_alpha(image, alpha_of)
        return np.asarray(_resized(image.convert("RGBA"), size))


def image_size(path: DataPath) -> tuple[int, int]:
    """Return width and height of an image in pixels; its pixels are not decoded.

    Raises:
        UsageError: the file is missing or damaged.
    """
    with _opened(path) as image:
        return image.size


def lacks_alpha(path: DataPath) -> bool:
    """Whether an image has colours alone; its pixels are not decoded.

    Raises:
        UsageError: the file is missing or damaged.
    """
    with _opened(path) as image:
        return not has_alpha(image)


def has_alpha(image: Image.Image) -> bool:
    """Whether an image says where it is transparent."""
    return image.mode in _MODES_WITH_ALPHA or "transparency" in image.info


@contextmanager
def _opened(path: DataPath) -> Iterator[Image.Image]:
    try:
        with Image.open(BytesIO(path.read_bytes())) as image:
            yield image
    except FileNotFoundError as error:
        raise UsageError(f"{path}: image not found", hint=_RENDER_AGAIN) from error
    except UnidentifiedImageError as error:
        raise UsageError(f"{path}: damaged image (no known image format)", hint=_RENDER_AGAIN) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: damaged image ({error})", hint=_RENDER_AGAIN) from error


def check_complete(content: bytes, path: DataPath) -> None:
    """Check that the bytes of ``path`` begin and end as those of a PNG file do; its pixels are not decoded.

    Raises:
        UsageError: the file is cut short, or no PNG.
    """
    if not content.startswith(_PNG_START) or _PNG_END not in content[-64:]:
        raise UsageError(f"{path}: damaged image (not a whole PNG file)", hint=_RENDER_AGAIN)


def _check_square(image: Image.Image, path: DataPath) -> None:
    if image.width != image.height:
        raise UsageError(f"{path}: {image.width} x {image.height} is not square", hint="Crop or render square images")


def _with_alpha(image: Image.Image, alpha_of: AlphaOf) -> Image.Image:
    colours = np.asarray(image.convert("RGB"))
    return Image.fromarray(np.dstack((colours, alpha_of(colours))))


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Pillow premultiplies RGBA images by their alpha while it resamples them."""
    if image.width == size:
        return image
    method = Image.Resampling.BOX if image.width > size else Image.Resampling.BILINEAR
    return image.resize((size, size), method)
