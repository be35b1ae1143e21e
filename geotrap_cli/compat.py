"""Let torchvision, lpips and peft be imported next to a PyTorch build that torchvision's operators do not fit.

PyPI has one torchvision build per platform, linked against the CUDA build of PyTorch. Next to a CPU build its
operators do not load, and ``import torchvision`` (hence lpips, peft and diffusers' adapters) fails with
``operator torchvision::nms does not exist``. Declaring the two operator schemas that its import needs is enough:
nothing of this project calls them, and a call by someone else still fails, as it should.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Final

import torch
from torch import library

SCHEMAS: Final = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A library that is garbage collected takes its schemas with it.
_declared: list[library.Library] = []


def ensure_torchvision() -> None:
    """Declare the torchvision operator schemas that are missing; call it before importing peft, lpips or diffusers.

    A torchvision whose operators load is left alone, and so is an environment without torchvision. Calling it again
    does nothing.
    """
    package = _torchvision_folder()
    if package is None or not missing_operators():
        return
    _load_extension(package)
    for name in missing_operators():
        fragment = library.Library("torchvision", "FRAGMENT")
        fragment.define(SCHEMAS[name])
        _declared.append(fragment)


def missing_operators() -> list[str]:
    """Names of the operators of ``SCHEMAS`` that PyTorch does not know."""
    return [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]


def _torchvision_folder() -> Path | None:
    spec = importlib.util.find_spec("torchvision")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _load_extension(package: Path) -> None:
    """Load torchvision's operators if they fit: a schema declared before them would make them fail."""
    details = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    spec = importlib.machinery.FileFinder(str(package), details).find_spec("_C")
    if spec is None or spec.origin is None:
        return
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return
