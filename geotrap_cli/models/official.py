"""One file of weights in the layout of a generator's authors: tensors by their published names, without a config."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from geotrap_cli.atomic import atomic_path
from geotrap_cli.errors import UsageError
from geotrap_cli.models.family import GeneratorFamily, Settings, load_family, preset_settings
from geotrap_cli.models.folder import plain_state
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.tensors import fill, read_pickled, read_tensors
from geotrap_cli.tensor_files import write_tensors

SAFETENSORS, PICKLED = ".safetensors", ".pth"

_logger = logging.getLogger(__name__)


def official_settings(family: type[GeneratorFamily], preset: str, name: str, old_rotation: bool) -> Settings:
    """Return the settings of a network whose weights are in a published file.

    Args:
        family: Its family.
        preset: Its size, which the file does not state.
        name: Of the file; it warns where the name and ``old_rotation`` disagree.
        old_rotation: Whether the weights are from before LGM's rotation fix, which the file does not state either.

    Raises:
        UsageError: For an unknown preset, or a family that never had another rotation.
    """
    named = family.old_rotation(name)
    if old_rotation and named is None:
        what = f"model.old_rotation: {family.key} never had another rotation normalisation"
        raise UsageError(what, hint="Leave it out.")
    if named and not old_rotation:
        _logger.warning(
            "%s has the name of weights from before LGM's rotation fix; if it is what its name says, set "
            "model.old_rotation=true (convert: --old-rotation), else its rotations come out wrong.",
            name,
        )
    return preset_settings(family, preset, **({"old_rotation": True} if old_rotation else {}))


def load_official(
    family: str, preset: str, path: Path, old_rotation: bool = False, pickled: bool = False
) -> GaussianGenerator:
    """A generator in float32 with the weights of a published file.

    Args:
        family: Key of its family.
        preset: Its size.
        path: The file.
        old_rotation: As for :func:`official_settings`.
        pickled: Whether a ``.pth`` file is read too; only where the user asked for a conversion.

    Raises:
        UsageError: When the file is not whole, holds NaN or infinity, or its tensors are not exactly those of the
            preset.
    """
    kind = load_family(family)
    settings = official_settings(kind, preset, path.name, old_rotation)
    tensors = read_pickled(path) if pickled and path.suffix == PICKLED else read_tensors(path)
    with torch.device("meta"):
        model = kind.network()(**settings)
    published = " or ".join(kind.published)
    hint = f"The file must hold the weights of preset {preset} of {family}; the published ones need preset {published}."
    fill(model, kind.from_official(tensors, settings), str(path), hint)
    return model


def save_official(model: GaussianGenerator, path: Path) -> None:
    """Write ``model`` as one safetensors file in its authors' layout, atomically; the model's precision is kept.

    Raises:
        UsageError: The layout cannot express the model's settings.
        GeotrapError: The model carries adapters.
    """
    kind = load_family(model.family)
    settings = {name: value for name, value in model.config.items() if not name.startswith("_")}
    tensors = kind.to_official(plain_state(model), settings)
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors)
