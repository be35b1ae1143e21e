"""Tensors on disk as safetensors, with the errors and the file permissions of any other file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from geotrap_cli.errors import UsageError


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write ``tensors`` to ``path``, copied to the CPU; not atomic by itself.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    # Written by Python: safetensors' own writer hides the operating system's error and makes files only the owner
    # can read.
    path.write_bytes(save(plain, metadata))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        UsageError: The file is missing, cut short or no safetensors file.
    """
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error})") from error
