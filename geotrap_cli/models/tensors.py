"""Weights as named tensors: read from safetensors, checked one by one, put into a model, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from geotrap_cli.errors import UsageError

NAMES_SHOWN: Final = 4
"""Tensors an error names before it only counts the rest."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, as float32 on the CPU; the file may lack metadata, as the official one does.

    Raises:
        UsageError: When the file is not a whole safetensors file, or a tensor holds no real numbers, or NaN or
            infinity.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            # A copy: the handle gives views of a file that may change while the model lives.
            return {name: _as_float32(handle.get_tensor(name), name, path) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as safetensors ({_one_line(error)})",
            hint="Fetch the file again if it is incomplete; other formats are not read.",
        ) from error


def read_pickled(path: Path) -> dict[str, Tensor]:
    """All tensors of a ``.pth`` file, as float32 on the CPU, read with ``weights_only=True``: no code of it runs.

    A training checkpoint may hold more; the weights are then under ``model_state_dict`` or ``state_dict``.

    Raises:
        UsageError: When the file is damaged, holds anything but tensors and plain values, or no weights; or a tensor
            holds no real numbers, or NaN or infinity.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read as weights ({_one_line(error)[:200]})",
            hint="Fetch the file again if it is incomplete; a file that needs its own code is not read.",
        ) from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path} holds no weights by name", hint="Name a file that holds a state dict.")
    return {str(name): _as_float32(value, str(name), path) for name, value in content.items()}


def _as_float32(tensor: Tensor, name: str, path: Path) -> Tensor:
    if not tensor.is_floating_point():
        raise UsageError(f"{path}: tensor {name} holds {tensor.dtype}, not real numbers".replace("torch.", ""))
    converted = tensor.to(torch.float32, copy=True)
    if not bool(converted.isfinite().all()):
        raise UsageError(f"{path}: tensor {name} holds NaN or infinity", hint="The weights are broken; use others.")
    return converted


def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: str, hint: str | None = None) -> None:
    """Make ``tensors`` the parameters of ``model`` (which may be on the meta device), by name, all and no others.

    Args:
        model: Takes the tensors over without a copy.
        tensors: Values by state-dict name.
        source: Where the tensors are from, for the error.
        hint: What to do about a mismatch.

    Raises:
        UsageError: When tensors are missing, unexpected or of another shape; it names them.
    """
    expected = {name: value.shape for name, value in model.state_dict().items()}
    misshapen = [
        f"{name} is {list(tensors[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "of another shape": misshapen,
    }
    if told := [f"{len(names)} {what} ({shorten(names)})" for what, names in problems.items() if names]:
        raise UsageError(f"{source} does not fit the model: tensors {'; '.join(told)}", hint=hint)
    model.load_state_dict(dict(tensors), strict=True, assign=True)


def shorten(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    rest = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of the state dict: names, dtypes, shapes and values, whatever the device, memory layout or order."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
