"""The ``[device]`` table made true, for a generator on its device."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from geotrap_cli.errors import UsageError
from geotrap_cli.profile.device_table import DeviceTable

Module = TypeVar("Module", bound=nn.Module)
#: Compute capability from which on CUDA devices have TF32 (Ampere).
TF32_CAPABILITY = (8, 0)


def apply_device_options(table: DeviceTable, model: Module, device: torch.device) -> Module:
    """Set what PyTorch does on ``device`` and lay out ``model``, in place; return it.

    Raises:
        UsageError: An option would not act on this device.
    """
    _set_tf32(table.tf32, device)
    # The convolutions' weights decide: what comes out of one has the layout of its weight.
    if table.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _set_tf32(wanted: bool | None, device: torch.device) -> None:
    if wanted is None:
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise UsageError(f"device.tf32 does not act on {device}, which has no TF32", "Leave it out")
    torch.backends.cuda.matmul.allow_tf32 = wanted
    torch.backends.cudnn.allow_tf32 = wanted
