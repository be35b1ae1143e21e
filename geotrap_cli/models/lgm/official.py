"""The weights LGM's authors released: one safetensors file, half precision, no metadata, no config.

``model_fp16_fixrot.safetensors`` holds the 376 tensors of the ``big`` preset. Two older files have the same layout but
were trained when quaternions were normalised over the Gaussians instead of over their four components; with the
corrected activation they give wrong rotations, and nothing inside the files tells them apart.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import torch

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.lgm.presets import preset
from geotrap_cli.models.tensors import fill, read_tensors

BEFORE_ROTATION_FIX: Final = frozenset({"model.safetensors", "model_fp16.safetensors"})
"""Names under which the weights from before the rotation fix were released."""

_logger = logging.getLogger(__name__)


def load_official(name: str, path: Path) -> LGM:
    """An LGM of preset ``name`` in float32 with the weights of a file in the official layout.

    Raises:
        UsageError: When the file is not whole, holds NaN or infinity, or its tensors are not exactly those of the
            preset.
    """
    arch = preset(name)
    if path.name in BEFORE_ROTATION_FIX:
        _logger.warning(
            "%s has the name of LGM weights from before the rotation fix, which give wrong rotations here; "
            "use the file whose name ends in _fixrot.",
            path,
        )
    with torch.device("meta"):
        model = LGM(**arch.asdict())
    hint = f"The file must hold the weights of preset {name}; the official ones need preset big."
    fill(model, read_tensors(path), str(path), hint)
    return model
