"""The ``[device]`` table made true, for a generator on its device; ``compile`` acts where a training begins."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from geotrap_cli.errors import UsageError
from geotrap_cli.models.compiled import check_compiler
from geotrap_cli.profile.device_table import DeviceTable
from geotrap_cli.training.processes import Processes

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


def check_training(table: DeviceTable, processes: Processes) -> None:
    """Check that the options act on a training, before there is one.

    Raises:
        UsageError: One would not.
    """
    if table.channels_last and processes.divides:
        what = "device.channels_last lays out weights in a way that FSDP cannot divide"
        raise UsageError(what, "Leave one of the two out")
    if table.compile and processes.divides:
        # PyTorch may leave out to check that a block which FSDP divides is the one its code was compiled for.
        what = "device.compile shares code between blocks that FSDP does not tell apart"
        raise UsageError(what, "Leave one of the two out")
    if table.compile:
        # Not with the first step: a run that cannot take it should not begin.
        check_compiler(processes.device)


def _set_tf32(wanted: bool | None, device: torch.device) -> None:
    if wanted is None:
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise UsageError(f"device.tf32 does not act on {device}, which has no TF32", "Leave it out")
    torch.backends.cuda.matmul.allow_tf32 = wanted
    torch.backends.cudnn.allow_tf32 = wanted
