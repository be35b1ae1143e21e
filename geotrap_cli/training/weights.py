"""Which weights the ``[model]`` table of a profile means."""

from __future__ import annotations

from geotrap_cli.models.loading import WeightsSource
from geotrap_cli.profile.schema import Profile


def weights_source(profile: Profile, weights: str | None = None) -> WeightsSource:
    """Return the weights of ``[model]``, or ``weights`` in their place."""
    table = profile.model
    # The folders that runs write say themselves how they normalise rotations.
    old_rotation = table.old_rotation and weights in (None, table.weights)
    return WeightsSource(weights or table.weights, table.preset, table.family, old_rotation)
