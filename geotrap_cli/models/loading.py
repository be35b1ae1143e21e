"""Weights for a generator: shipped, random, a diffusers folder or the official file; and back to a folder."""

from __future__ import annotations

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM


def load_generator(preset: str, weights: str, device: str = "cpu") -> LGM:
    """An LGM with the weights named by ``weights``."""
    if weights == "random":
        return LGM.from_preset(preset).to(device)
    raise UsageError(f"Weights {weights!r} cannot be loaded")
