"""Sizes of LGM: the published ones, and nano, which trains on a laptop CPU."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.architecture import Architecture

_SMALL = Architecture(
    up_channels=(1024, 1024, 512, 256), up_attention=(True, True, True, False), splat_size=64, output_size=256
)

PRESETS: Final[dict[str, Architecture]] = {
    "nano": Architecture(
        down_channels=(16, 32, 48, 64, 96, 96),
        up_channels=(96, 96, 64, 48, 32),
        norm_groups=4,
        num_heads=4,
        input_size=64,
        splat_size=32,
        output_size=64,
    ),
    "tiny": Architecture(
        down_channels=(32, 64, 128, 256, 512),
        down_attention=(False, False, False, False, True),
        up_channels=(512, 256, 128),
        up_attention=(True, False, False),
        splat_size=64,
        output_size=256,
    ),
    "small": _SMALL,
    "big": Architecture(),
}


def preset(name: str, **overrides: Any) -> Architecture:
    """The architecture called ``name``, with some values replaced.

    Raises:
        UsageError: For an unknown preset or field, or values that contradict one another.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no model preset {name!r}", hint=f"Choose one of {', '.join(PRESETS)}.")
    return Architecture.parse(dataclasses.asdict(PRESETS[name]) | overrides)
