"""The table ``[device]``: how the arithmetic of a run is carried out, not what is computed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from geotrap_cli.profile.base import Table


class DeviceTable(Table):
    """``[device]``: speed at the price of rounding, or of memory."""

    tf32: bool | None = Field(
        default=None,
        description="Whether CUDA multiplies float32 with 10 bits of mantissa (TF32), in products and convolutions "
        "alike; unset: as PyTorch does. An error without a GPU that can.",
    )
    channels_last: bool = Field(
        default=False, description="Whether the channels of a pixel lie side by side, which tensor cores prefer."
    )
    compile: bool = Field(
        default=False,
        description="Whether blocks of the generator are compiled where it trains. An error where they cannot be.",
    )
    read_ahead: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="Batches that a thread reads beforehand, on a GPU into pinned memory (batches)."
    )
