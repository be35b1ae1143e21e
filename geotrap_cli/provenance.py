"""What a result depends on: content hashes, and the machine and packages it was computed with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

RECORDED_PACKAGES = ("geotrap", "torch", "numpy", "diffusers", "peft", "safetensors", "numba", "gsplat", "lpips")
_CHUNK = 2**20


def hash_json(value: Any) -> str:
    """SHA-256 of ``value`` as JSON with sorted keys, in hex; NaN is refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bits of tensors, whatever their order and device, in hex."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
