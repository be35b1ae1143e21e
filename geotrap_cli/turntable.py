"""A turntable: one object from cameras on a circle around it, as an animated GIF or an MP4 video."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from geotrap_cli.atomic import atomic_path
from geotrap_cli.cameras import Cameras, circle_cameras
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import render

if TYPE_CHECKING:
    from PIL.Image import Image

FRAMES_PER_SECOND = 12
_AT_ONCE = 8


def turntable(batch: GaussianBatch, frames: int, size: int, elevation_deg: float) -> list[Image]:
    """Render one object on white from ``frames`` cameras at even azimuths; the first is that of the first input view.

    Args:
        batch: One object.
        frames: Number of pictures.
        size: Their side, pixels.
        elevation_deg: Degrees above the object's equator.

    Raises:
        ValueError: The batch does not hold exactly one object.
        NonFiniteError: A Gaussian is NaN or infinite.
    """
    from PIL import Image

    if len(batch) != 1:
        raise ValueError(f"a turntable shows one object, got a batch of {len(batch)}")
    # In the convention of LGM's orbit a positive elevation lies below.
    cameras = circle_cameras(frames, size, -elevation_deg, batch.activated.device)
    pictures: list[Image.Image] = []
    with torch.no_grad():
        for chunk in cameras.viewmats.split(_AT_ONCE):
            views = Cameras(chunk, cameras.Ks[: len(chunk)], size, size)
            rgb = render(batch, views).rgb[0]
            pictures += [Image.fromarray(view) for view in (rgb * 255).round().byte().cpu().numpy()]
    return pictures


def save_gif(frames: Sequence[Image], path: Path) -> None:
    """Write an endless animation, atomically."""
    duration = 1000 // FRAMES_PER_SECOND
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=list(frames[1:]), duration=duration, loop=0
        )


def check_video() -> None:
    """Refuse to promise a video that could not be written.

    Raises:
        UsageError: The package that brings the encoder is not installed.
    """
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        what = "MP4 needs the package imageio-ffmpeg, which is not installed"
        raise UsageError(what, hint="pip install 'geotrap[video]', or choose --format gif")


def save_mp4(frames: Sequence[Image], path: Path) -> None:
    """Write an H.264 video, atomically; sides must be even.

    Raises:
        UsageError: The encoder is not installed.
    """
    check_video()
    import imageio_ffmpeg

    with atomic_path(path) as temporary:
        # The encoder tells the container by the suffix.
        named = temporary.with_name(f"{temporary.name}.mp4")
        writer = imageio_ffmpeg.write_frames(
            str(named), frames[0].size, fps=FRAMES_PER_SECOND, macro_block_size=2, ffmpeg_log_level="error"
        )
        try:
            with contextlib.closing(writer):
                writer.send(None)
                for frame in frames:
                    writer.send(frame.tobytes())
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
