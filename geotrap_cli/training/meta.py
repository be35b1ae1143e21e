"""The profile's generator without memory for its weights: to count and to name, not to compute."""

from __future__ import annotations

import torch

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import find_settings
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.weights import weights_source


def meta_model(profile: Profile, weights: str | None = None) -> GaussianGenerator:
    """Return the profile's generator on the ``meta`` device, with the architecture of ``weights`` where given."""
    table = profile.model
    family, settings = find_settings(weights_source(profile, weights))
    with torch.device("meta"):
        model = family.network()(**settings)
    return model.fuse_head() if table.fuse_head else model
