"""The machine and the packages that a result was computed with."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

RECORDED_PACKAGES = ("geotrap", "torch", "numpy", "diffusers", "peft", "safetensors", "numba", "gsplat", "lpips")


def record_environment(device: str | None = None) -> dict[str, Any]:
    """Python, packages, platform, threads and (when ``device`` names a GPU) its model, for the manifest."""
    import torch

    record: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: found for name in RECORDED_PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "argv": sys.argv[1:],
        "device": device,
    }
    if device and device.startswith("cuda"):
        record["gpu"] = torch.cuda.get_device_name(device)
        record["cuda"] = torch.version.cuda
    return record


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
