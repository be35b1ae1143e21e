"""Sizes of Splatter Image: the published one with the spaces it was trained in, and nano, which trains on a CPU."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from geotrap_cli.models.splatter_image.architecture import Architecture

SHAPENET_FOV_DEG: Final = 51.98948897809546

PRESETS: Final[dict[str, dict[str, Any]]] = {
    name: dataclasses.asdict(arch)
    for name, arch in {
        "nano": Architecture(base_channels=16, num_blocks=1, channel_mult=(1, 2, 2), input_size=64, output_size=64),
        "objaverse": Architecture(),
        "cars": Architecture(znear=0.8, zfar=1.8, camera_radius=1.3, fov_deg=SHAPENET_FOV_DEG),
        "chairs": Architecture(znear=1.25, zfar=2.75, camera_radius=2.0, fov_deg=SHAPENET_FOV_DEG),
    }.items()
}
