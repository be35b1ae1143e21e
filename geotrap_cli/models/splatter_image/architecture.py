"""What decides the shapes of a Splatter Image network and the space it predicts in, and which values go together."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Final

from geotrap_cli.errors import UsageError
from geotrap_cli.models.settings import NetworkSettings

CHANNELS_PER_GROUP: Final = 4
MOST_GROUPS: Final = 32
"""A GroupNorm has one group a :data:`CHANNELS_PER_GROUP` channels, at most this many."""


@dataclasses.dataclass(frozen=True)
class Architecture(NetworkSettings):
    """Everything that a Splatter Image network is made from. The defaults are those of the weights for Objaverse.

    Attributes:
        base_channels: Channels at the full resolution, of which the others are multiples.
        channel_mult: Multiples per resolution, each half as large as the one before.
        num_blocks: Residual blocks of a resolution on the way down; on the way up there is one more.
        attention_resolutions: Resolutions (pixels) at which residual blocks attend.
        input_size: Height and width of the input view and of the grid of Gaussians, in pixels.
        output_size: Height and width of the images the network is trained to render, in pixels.
        sh_degree: Degree of the spherical harmonics of colours, 0 or 1.
        znear: Smallest depth, in the units of the training cameras.
        zfar: Largest depth, likewise.
        camera_radius: Distance of the training cameras from the origin: what one unit is.
        fov_deg: Field of view of the training cameras, degrees.

    Raises:
        UsageError: When the values contradict one another.
    """

    network_name: ClassVar[str] = "Splatter Image"

    base_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_blocks: int = 4
    attention_resolutions: tuple[int, ...] = (16,)
    input_size: int = 128
    output_size: int = 128
    sh_degree: int = 1
    znear: float = 0.8
    zfar: float = 3.2
    camera_radius: float = 2.0
    fov_deg: float = 49.134342641202636

    def __post_init__(self) -> None:
        _check_counts(self)
        if self.sh_degree not in (0, 1):
            raise UsageError(f"Splatter Image setting sh_degree must be 0 or 1, not {self.sh_degree!r}")
        numbers = (self.znear, self.zfar, self.camera_radius, self.fov_deg)
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise UsageError("Splatter Image settings znear, zfar, camera_radius and fov_deg must be numbers")
        if not 0 < self.znear < self.zfar or self.camera_radius <= 0 or not 0 < self.fov_deg < 180:
            raise UsageError(
                "Splatter Image settings need 0 < znear < zfar, camera_radius > 0 and 0 < fov_deg < 180, not "
                f"{self.znear}, {self.zfar}, {self.camera_radius} and {self.fov_deg}"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels per resolution."""
        return tuple(self.base_channels * factor for factor in self.channel_mult)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Height and width of the features per resolution."""
        return tuple(self.input_size >> level for level in range(len(self.channel_mult)))


def norm_groups(channels: int) -> int:
    """Groups of a GroupNorm over ``channels`` channels."""
    return max(1, min(MOST_GROUPS, channels // CHANNELS_PER_GROUP))


def _check_counts(arch: Architecture) -> None:
    for name in ("base_channels", "num_blocks", "input_size", "output_size", "channel_mult", "attention_resolutions"):
        value = getattr(arch, name)
        items = value if isinstance(value, tuple) else (value,)
        if any(type(item) is not int or item < 1 for item in items) or (name == "channel_mult" and not items):
            raise UsageError(f"Splatter Image setting {name} must be positive whole numbers, not {value!r}")
    halvings = len(arch.channel_mult) - 1
    if arch.input_size % 2**halvings:
        raise UsageError(
            f"Splatter Image setting input_size = {arch.input_size} cannot be halved {halvings} times",
            hint=f"Use a multiple of {2**halvings}.",
        )
    for channels in arch.channels:
        if channels % norm_groups(channels):
            what = f"Splatter Image: {channels} channels do not split into {norm_groups(channels)} groups"
            raise UsageError(what, hint=f"Use a multiple of {CHANNELS_PER_GROUP} for base_channels.")
