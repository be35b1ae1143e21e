"""A generator as a diffusers folder: ``config.json`` and ``diffusion_pytorch_model[.VARIANT].safetensors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from geotrap_cli.atomic import atomic_path
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.models.family import GeneratorFamily, Settings, family_of_class
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.tensors import fill, read_tensors, shorten
from geotrap_cli.tensor_files import write_tensors

CONFIG_NAME: Final = "config.json"
WEIGHTS_STEM: Final = "diffusion_pytorch_model"
DEFAULT_CLASS: Final = "LGM"


def load_folder(folder: Path) -> GaussianGenerator:
    """The model in a diffusers folder, in float32; full precision is taken where there are variants.

    Raises:
        UsageError: When a file is missing or damaged, the config is not one of a known generator, or the tensors do not
            fit it.
    """
    family, settings = read_settings(folder)
    weights = _find_weights(folder)
    with torch.device("meta"):
        model = family.network()(**settings)
    fill(model, read_tensors(weights), str(weights), f"They must fit {folder / CONFIG_NAME}.")
    return model


def save_generator(
    model: GaussianGenerator, folder: str | Path, variant: str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Write ``model`` as a diffusers folder that is either whole or not there; an older one is replaced.

    Args:
        model: Without adapters: merge or unload them first.
        folder: Where to; must be absent, empty, or hold nothing but a model.
        variant: Goes into the name of the weights file, for example ``"fp16"``.
        dtype: Precision on disk; that of the model if None.

    Raises:
        UsageError: When the folder holds other files.
        GeotrapError: When the model carries adapters.
        NonFiniteError: When a weight is NaN or infinite, also after rounding to ``dtype``.
    """
    target = Path(folder)
    _check_replaceable(target)
    tensors = {name: _for_disk(name, value, dtype) for name, value in plain_state(model).items()}
    with atomic_path(target) as temporary:
        temporary.mkdir()
        model.save_config(temporary)
        write_tensors(temporary / weights_name(variant), tensors, {"format": "pt"})


def weights_name(variant: str | None = None) -> str:
    """File name of the weights, as diffusers has it."""
    return f"{WEIGHTS_STEM}.{variant}.safetensors" if variant else f"{WEIGHTS_STEM}.safetensors"


def read_settings(folder: Path) -> tuple[type[GeneratorFamily], Settings]:
    """The family and the settings in the config of a diffusers folder; a config that names no class is an LGM's.

    Raises:
        UsageError: When the config is missing, damaged, or not one of a known generator.
    """
    path = folder / CONFIG_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({' '.join(str(error).split())})",
            hint="A model folder holds config.json and diffusion_pytorch_model.safetensors.",
        ) from error
    named = values.get("_class_name", DEFAULT_CLASS) if isinstance(values, dict) else None
    family = family_of_class(named) if isinstance(named, str) else None
    if family is None:
        found = named if isinstance(values, dict) else type(values).__name__
        what = f"{path} describes {found!r}, not a generator that is installed"
        raise UsageError(what, hint="Name the folder of a generator; `geotrap plugins` lists the families.")
    try:
        return family, family.check({name: value for name, value in values.items() if not name.startswith("_")})
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error


def _find_weights(folder: Path) -> Path:
    full = folder / weights_name()
    if full.is_file():
        return full
    variants = sorted(folder.glob(f"{WEIGHTS_STEM}.*.safetensors"))
    if len(variants) != 1:
        found = f"several variants ({shorten(path.name for path in variants)})" if variants else "no weights"
        raise UsageError(f"{folder} holds {found}", hint=f"It must hold {weights_name()} or a single variant of it.")
    return variants[0]


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, so the model cannot be saved there", hint="Name another folder.")
    others = [] if not folder.exists() else [path.name for path in sorted(folder.iterdir()) if not _is_model_file(path)]
    if others:
        raise UsageError(
            f"{folder} holds other files ({shorten(others)}), so a model cannot replace it",
            hint="Name a new folder.",
        )


def _is_model_file(path: Path) -> bool:
    return path.name == CONFIG_NAME or (path.name.startswith(WEIGHTS_STEM) and path.suffix == ".safetensors")


def plain_state(model: GaussianGenerator) -> dict[str, Tensor]:
    """The state dict of a model without adapters.

    Raises:
        GeotrapError: The model carries adapters.
    """
    with torch.device("meta"):
        expected = type(model).from_config(dict(model.config)).state_dict().keys()
    state = model.state_dict()
    if state.keys() != expected:
        raise GeotrapError(
            f"The model has parameters that its config does not explain ({shorten(sorted(state.keys() ^ expected))})",
            hint="Merge or unload adapters before saving the model.",
        )
    return state


def _for_disk(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    converted = value.detach().to("cpu", dtype).contiguous()
    if not bool(converted.isfinite().all()):
        raise NonFiniteError(f"Weight {name} is NaN or infinite, so the model is not saved")
    return converted
