"""The profile's generator without memory for its weights: to count and to name, not to compute."""

from __future__ import annotations

import torch

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import find_architecture
from geotrap_cli.profile.schema import Profile


def meta_model(profile: Profile, weights: str | None = None) -> LGM:
    """Return the profile's generator on the ``meta`` device, with the architecture of ``weights`` where given."""
    table = profile.model
    with torch.device("meta"):
        model = LGM(**find_architecture(table.preset, weights or table.weights).asdict())
    return model.fuse_head() if table.fuse_head else model
