"""Weights for a generator: shipped, random, a diffusers folder or the official file; and back to a folder."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.folder import load_folder, read_architecture, save_generator
from geotrap_cli.models.lgm.architecture import Architecture
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.lgm.official import load_official
from geotrap_cli.models.lgm.presets import preset as find_preset
from geotrap_cli.models.tensors import weights_hash

__all__ = ["find_architecture", "load_generator", "save_generator", "weights_hash"]


def load_generator(preset: str, weights: str, device: torch.device | str = "cpu") -> LGM:
    """An LGM in float32 and evaluation mode.

    Args:
        preset: Architecture, for every source but a diffusers folder, whose own config wins.
        weights: ``"shipped"`` (installed with the program), ``"random"`` (PyTorch's defaults, from the global
            generator: seed it before), the path of a diffusers folder, or that of a ``.safetensors`` file in the
            official layout.
        device: Where the model goes.

    Raises:
        UsageError: When the preset is unknown, or the weights do not exist, are damaged or do not fit.
    """
    find_preset(preset)
    if weights == "random":
        model = LGM.from_preset(preset)
    elif weights == "shipped":
        model = load_folder(shipped_folder(preset))
    else:
        model = _load_path(preset, Path(weights).expanduser())
    return model.to(device).eval()


def find_architecture(preset: str, weights: str) -> Architecture:
    """The architecture that :func:`load_generator` would build, without reading any weights.

    Raises:
        UsageError: When the preset is unknown, or the weights are a path that does not exist or is no model.
    """
    arch = find_preset(preset)
    if weights in ("shipped", "random"):
        return arch
    path = Path(weights).expanduser()
    if not path.exists():
        raise _no_weights(path)
    return read_architecture(path) if path.is_dir() else arch


def shipped_folder(preset: str) -> Path:
    """Where the weights of ``preset`` are installed.

    Raises:
        UsageError: When none are shipped for it.
    """
    root = Path(str(importlib.resources.files("geotrap_cli.weights")))
    folder = root / preset
    if not (folder / "config.json").is_file():
        shipped = ", ".join(sorted(path.parent.name for path in root.glob("*/config.json"))) or "none"
        raise UsageError(
            f"No weights are shipped for preset {preset} (shipped: {shipped})",
            hint="Name a diffusers folder or an official .safetensors file, or ask for 'random' weights.",
        )
    return folder


def _load_path(preset: str, path: Path) -> LGM:
    if path.is_dir():
        return load_folder(path)
    if not path.exists():
        raise _no_weights(path)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"Weights {path} are not a .safetensors file",
            hint="Other formats can run code when they are opened, so they are not read.",
        )
    return load_official(preset, path)


def _no_weights(path: Path) -> UsageError:
    return UsageError(
        f"Weights {path} do not exist",
        hint="Use 'shipped', 'random', a diffusers folder or an official .safetensors file.",
    )
