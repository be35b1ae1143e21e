"""What decides the shapes of an LGM, and which values go together."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Final

from geotrap_cli.errors import UsageError
from geotrap_cli.models.settings import NetworkSettings

LAYERS_PER_BLOCK: Final = 2
"""Residual blocks of a down block; an up block has one more, as it also takes in what entered the down block."""


@dataclasses.dataclass(frozen=True)
class Architecture(NetworkSettings):
    """Everything that decides the shapes of an LGM. The defaults are those of the released weights (``big``).

    Attributes:
        down_channels: Channels per resolution on the way down; every block but the last halves the resolution.
        down_attention: Whether a down block attends across views.
        mid_attention: Whether the middle block does.
        up_channels: Channels per resolution on the way up; every block but the last doubles the resolution.
        up_attention: Whether an up block attends across views.
        norm_groups: Groups of every GroupNorm.
        num_heads: Heads of every attention.
        input_size: Height and width of the input views, in pixels.
        splat_size: Height and width of the output feature map: each of its cells is one Gaussian per view.
        output_size: Height and width of the images the model is trained to render, in pixels.
        num_views: Input views an object has.
        fused_head: Whether the last 1x1 convolution is folded into the one before it.
        old_rotation: Whether the weights are from before LGM's rotation fix, which changed what quaternions are
            normalised over (``geotrap_cli.gaussians.quats_across``).

    Raises:
        UsageError: When the values contradict one another.
    """

    network_name: ClassVar[str] = "LGM"

    down_channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 1024)
    down_attention: tuple[bool, ...] = (False, False, False, True, True, True)
    mid_attention: bool = True
    up_channels: tuple[int, ...] = (1024, 1024, 512, 256, 128)
    up_attention: tuple[bool, ...] = (True, True, True, False, False)
    norm_groups: int = 32
    num_heads: int = 16
    input_size: int = 256
    splat_size: int = 128
    output_size: int = 512
    num_views: int = 4
    fused_head: bool = False
    old_rotation: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        _check_lengths(self)
        _check_skips(self)
        _check_divisibility(self)
        _check_resolution(self)


def _check_types(arch: Architecture) -> None:
    for field in dataclasses.fields(arch):
        value, many = getattr(arch, field.name), str(field.type).startswith("tuple")
        kind, what = (bool, "true or false") if "bool" in str(field.type) else (int, "a positive whole number")
        items = value if many and isinstance(value, tuple) else (value,)
        if many != isinstance(value, tuple) or any(
            type(item) is not kind or (kind is int and item < 1) for item in items
        ):
            raise UsageError(f"LGM setting {field.name} must be {what}{' per block' if many else ''}, not {value!r}")


def _check_lengths(arch: Architecture) -> None:
    for side in ("down", "up"):
        channels, attention = getattr(arch, f"{side}_channels"), getattr(arch, f"{side}_attention")
        if not channels or len(channels) != len(attention):
            raise UsageError(
                f"LGM settings {side}_channels and {side}_attention must name one value per block each, "
                f"not {len(channels)} and {len(attention)}"
            )


def _check_skips(arch: Architecture) -> None:
    expected = arch.down_channels[::-1][: len(arch.up_channels)]
    if arch.up_channels != expected:
        raise UsageError(
            f"LGM setting up_channels {arch.up_channels} must mirror down_channels {arch.down_channels} "
            f"for the skip connections to fit",
            hint=f"Use the first values of {arch.down_channels[::-1]}.",
        )


def _check_divisibility(arch: Architecture) -> None:
    for channels in arch.down_channels:
        _check_divides("norm_groups", arch.norm_groups, channels)
    sites = zip(
        (*arch.down_channels, arch.down_channels[-1], *arch.up_channels),
        (*arch.down_attention, arch.mid_attention, *arch.up_attention),
        strict=True,
    )
    for channels, attends in sites:
        if attends:
            _check_divides("num_heads", arch.num_heads, channels)


def _check_divides(setting: str, divisor: int, channels: int) -> None:
    if channels % divisor:
        raise UsageError(f"LGM setting {setting} = {divisor} does not divide the {channels} channels of a block")


def _check_resolution(arch: Architecture) -> None:
    halvings = len(arch.down_channels) - 1
    if arch.input_size % 2**halvings:
        raise UsageError(
            f"LGM setting input_size = {arch.input_size} cannot be halved {halvings} times",
            hint=f"Use a multiple of {2**halvings}.",
        )
    resolution = arch.input_size // 2**halvings * 2 ** (len(arch.up_channels) - 1)
    if arch.splat_size != resolution:
        raise UsageError(
            f"LGM setting splat_size = {arch.splat_size} is not the resolution of the network's output, {resolution}",
            hint=f"Set splat_size = {resolution}, or change input_size or the number of blocks.",
        )
