"""``geotrap convert``: a published file of weights as a model folder, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.family import load_family
from geotrap_cli.models.folder import load_folder, save_generator
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.hub import HubId
from geotrap_cli.models.loading import WeightsSource, fetch_from_hub
from geotrap_cli.models.official import PICKLED, SAFETENSORS, load_official, save_official
from geotrap_cli.models.tensors import weights_hash
from geotrap_cli.typed_paths import typed_path

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        source: Where the weights were read.
        target: Where they are now.
        family: Their family.
        parameters: Their number.
        weights: Their content hash, in float32.
        written: Whether the target is there.
    """

    source: Path
    target: Path
    family: str
    parameters: int
    weights: str
    written: bool

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        facts = {"family": self.family, "parameters": self.parameters, "weights": self.weights}
        return {"source": str(self.source), "target": str(self.target), **facts, "written": self.written}

    def render(self, console: Console) -> None:
        """Print what is where."""
        what = f"{self.family}, {self.parameters:,} parameters"
        console.print(f"{what}: {self.target if self.written else f'would be {self.target}'}", soft_wrap=True)
        if self.written:
            console.print(f"next: geotrap train --set model.weights={self.target}", soft_wrap=True)


def convert(source: WeightsSource, target: Path, half: bool = False, write: bool = True) -> Conversion:
    """Read weights in one layout and write them in the other.

    This is the only place that opens a ``.pth`` file, with ``torch.load(weights_only=True)``.

    Args:
        source: An official file, a model folder or a hub id.
        target: A new ``.safetensors`` file in the official layout, or else a model folder.
        half: Whether tensors are stored as float16.
        write: Whether anything is written.

    Raises:
        UsageError: The source is missing, damaged or of another preset, or the target is taken.
        GeotrapError: The hub answers with an error.
    """
    path = _locate(source)
    if target.suffix == SAFETENSORS and target.exists():
        raise UsageError(f"{target} exists already", hint="Name a new file.")
    if path.is_dir():
        model = load_folder(path)
    else:
        model = load_official(source.family, source.preset, path, source.old_rotation, pickled=True)
    facts = (model.family, sum(parameter.numel() for parameter in model.parameters()), weights_hash(model))
    if write:
        _write(model, target, half)
    return Conversion(path, target, *facts, written=write)


def published_preset(family: str) -> str:
    """Return the size whose published weights are most likely meant."""
    return load_family(family).published[0]


def _locate(source: WeightsSource) -> Path:
    path = typed_path(source.weights)
    if not path.exists():
        id = HubId.parse(source.weights)
        if id is None:
            raise UsageError(f"{path} does not exist", hint="Name an official file, a model folder or a hub id.")
        path = fetch_from_hub(id, source, pickled=True)
    if path.is_file() and path.suffix not in (SAFETENSORS, PICKLED):
        raise UsageError(f"{path} is neither a {SAFETENSORS} nor a {PICKLED} file", hint="Name one that is.")
    return path


def _write(model: GaussianGenerator, target: Path, half: bool) -> None:
    if target.suffix == SAFETENSORS:
        save_official(model.half() if half else model, target)
    elif half:
        save_generator(model, target, variant="fp16", dtype=torch.float16)
    else:
        save_generator(model, target)
