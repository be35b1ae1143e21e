"""Choice of device and of the number format of the network; rasterisation and losses stay in float32."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from geotrap_cli.errors import UsageError


def pick_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda:N`` into a device.

    Raises:
        UsageError: The device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}", "Use auto, cpu or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name} is not there ({torch.cuda.device_count()} CUDA devices)", "Use --device cpu")
    return device


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return ``fp32`` or ``bf16`` for ``auto``: bf16 where the device computes in it, that is on CUDA."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which the network's forward pass runs."""
    if resolve_precision(precision, device) == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
