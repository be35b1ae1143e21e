"""Weights for a generator: shipped, random, a diffusers folder, an official file or a hub id; and back to a folder."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.family import DEFAULT_FAMILY, GeneratorFamily, Settings, load_family, preset_settings
from geotrap_cli.models.folder import CONFIG_NAME, load_folder, read_settings, save_generator, weights_name
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.hub import HubFiles, HubId
from geotrap_cli.models.official import PICKLED, SAFETENSORS, load_official, official_settings
from geotrap_cli.models.tensors import weights_hash
from geotrap_cli.typed_paths import typed_path

__all__ = ["WeightsSource", "find_settings", "load_generator", "save_generator", "weights_hash"]

BUILT_IN = ("shipped", "random")
HINT = "Use 'shipped', 'random', a diffusers folder, an official .safetensors file or a hub id."


@dataclass(frozen=True)
class WeightsSource:
    """Which weights are meant.

    Attributes:
        weights: ``"shipped"`` (installed with the program), ``"random"`` (PyTorch's defaults, from the global
            generator: seed it before), the path of a diffusers folder or of a ``.safetensors`` file in the official
            layout, or an id on the hub, ``owner/name`` or ``owner/name@revision``.
        preset: Size, for every source but a diffusers folder, whose own config wins.
        family: Key of the group ``geotrap.models``, likewise.
        old_rotation: Whether an official file is from before LGM's rotation fix.
    """

    weights: str
    preset: str
    family: str = DEFAULT_FAMILY
    old_rotation: bool = False

    def load(self, device: torch.device | str = "cpu") -> GaussianGenerator:
        """Return the generator in float32 and evaluation mode.

        Raises:
            UsageError: When the family or the preset is unknown, or the weights do not exist, are damaged or do not
                fit.
            GeotrapError: The hub answers with an error.
        """
        settings = preset_settings(load_family(self.family), self.preset)
        path = self.locate()
        model = load_family(self.family).network()(**settings) if path is None else _load_path(self, path)
        return model.to(device).eval()

    def locate(self, whole: bool = True) -> Path | None:
        """Return the folder or file that is meant, fetched where it lies on the hub; None for what is built in.

        Args:
            whole: Whether its weights are wanted, not its config alone.

        Raises:
            UsageError: There is no such path, and the hub has nothing that fits.
            GeotrapError: The hub answers with an error.
        """
        if self.weights in BUILT_IN:
            return shipped_folder(self.preset, self.family) if self.weights == "shipped" and whole else None
        path = typed_path(self.weights)
        if path.exists():
            return path
        id = HubId.parse(self.weights)
        if id is None:
            raise UsageError(f"Weights {path} do not exist", hint=HINT)
        return fetch_from_hub(id, self, whole)


def load_generator(
    preset: str,
    weights: str,
    device: torch.device | str = "cpu",
    family: str = DEFAULT_FAMILY,
    old_rotation: bool = False,
) -> GaussianGenerator:
    """Return the generator of a :class:`WeightsSource`, whose arguments and errors these are."""
    return WeightsSource(weights, preset, family, old_rotation).load(device)


def find_settings(source: WeightsSource) -> tuple[type[GeneratorFamily], Settings]:
    """The family and settings of what :meth:`WeightsSource.load` would build, without reading any weights.

    Raises:
        UsageError: When the family or the preset is unknown, or the weights are a path that does not exist or is no
            model.
        GeotrapError: The hub answers with an error.
    """
    family = load_family(source.family)
    settings = preset_settings(family, source.preset)
    path = source.locate(whole=False)
    if path is None:
        return family, settings
    if path.is_dir():
        _refuse_old_rotation(source, path)
        return read_settings(path)
    return family, official_settings(family, source.preset, path.name, source.old_rotation)


def fetch_from_hub(id: HubId, source: WeightsSource, whole: bool = True, pickled: bool = False) -> Path:
    """Return the model folder, or else the official file, of a repository on the hub, from its cache.

    Args:
        id: The repository.
        source: Family, size and rotation of the weights that are wanted.
        whole: Whether the weights are wanted, not the config alone.
        pickled: Whether a ``.pth`` file will do.

    Raises:
        UsageError: There is no such repository, or it holds nothing that fits.
        GeotrapError: The hub answers with an error.
    """
    files, family = HubFiles(id), load_family(source.family)
    config = files.find(CONFIG_NAME)
    is_folder = config is not None and _is_generator(config.parent)
    if is_folder and (not whole or files.first([weights_name(), weights_name("fp16")]) is not None):
        assert config is not None
        return config.parent
    names = family.official_files(source.preset, source.old_rotation)
    suffixes = (SAFETENSORS, PICKLED) if pickled else (SAFETENSORS,)
    found = files.first([name for name in names if name.endswith(suffixes)])
    if found is not None:
        return found
    pickles = [name for name in names if name.endswith(PICKLED)]
    if pickles and not pickled and (pickle := files.first(pickles)) is not None:
        what = f"{id} on the hub holds {pickle.name}, a format that can run code when it is opened"
        raise UsageError(what, hint=f"Convert it first: geotrap convert {id} FOLDER --family {family.key}.")
    raise files.missing(f"a model folder or {', '.join(names)}")


def shipped_folder(preset: str, family: str = DEFAULT_FAMILY) -> Path:
    """Where the weights of ``preset`` are installed.

    Raises:
        UsageError: When none are shipped for it.
    """
    root = Path(str(importlib.resources.files("geotrap_cli.weights")))
    folder = root / preset if family == DEFAULT_FAMILY else root / family / preset
    if not (folder / CONFIG_NAME).is_file():
        shipped = ", ".join(sorted(path.parent.name for path in root.glob("*/config.json"))) or "none"
        of = "" if family == DEFAULT_FAMILY else f" of {family}"
        raise UsageError(
            f"No weights are shipped for preset {preset}{of} (shipped: {shipped})",
            hint="Name a diffusers folder, an official .safetensors file or a hub id, or ask for 'random' weights.",
        )
    return folder


def _load_path(source: WeightsSource, path: Path) -> GaussianGenerator:
    if path.is_dir():
        _refuse_old_rotation(source, path)
        return load_folder(path)
    if path.suffix != SAFETENSORS:
        raise UsageError(
            f"Weights {path} are not a .safetensors file",
            hint="Other formats can run code when they are opened; `geotrap convert` reads a .pth file safely.",
        )
    return load_official(source.family, source.preset, path, source.old_rotation)


def _refuse_old_rotation(source: WeightsSource, folder: Path) -> None:
    if source.old_rotation:
        what = f"model.old_rotation is set, but {folder} says itself how it normalises rotations"
        raise UsageError(what, hint="Leave it out; `geotrap convert --old-rotation` writes it into a folder.")


def _is_generator(folder: Path) -> bool:
    try:
        read_settings(folder)
    except UsageError:
        return False
    return True
