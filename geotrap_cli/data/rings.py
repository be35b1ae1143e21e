"""Which four views can feed a generator: 90 degrees apart around the up axis, at one elevation."""

from __future__ import annotations

import numpy as np

from geotrap_cli.errors import UsageError

RING_TOLERANCE_DEG = 5.0
LOOSE_TOLERANCE_DEG = 20.0
MAX_ELEVATION_DEG = 60.0
"""Above this, four views 90 degrees apart around the up axis all show the object's top."""


def find_rings(centers: np.ndarray) -> list[list[int]]:
    """Return groups of four view indices at azimuths ``a, a + 90, a + 180, a + 270`` of one elevation.

    Every view that can start a group starts one. A data set without exact rings (5 degrees) gives the groups that
    are right within 20 degrees; one without these gives the single group with the smallest total error.

    Args:
        centers: ``[V, 3]`` camera positions around the object, which is at the origin of a y-up world.

    Raises:
        UsageError: there are fewer than four views.
    """
    if len(centers) < 4:
        raise UsageError(f"{len(centers)} views are too few", hint="A generator takes four input views")
    directions = centers / np.linalg.norm(centers, axis=-1, keepdims=True)
    groups, errors = _nearest_groups(_deviations(directions))
    low = np.abs(np.rad2deg(np.arcsin(directions[:, 1].clip(-1, 1)))) <= MAX_ELEVATION_DEG
    for tolerance in (RING_TOLERANCE_DEG, LOOSE_TOLERANCE_DEG):
        fits = low & (errors.max(axis=1) <= tolerance)
        if fits.any():
            return groups[fits].tolist()
    return [groups[errors.sum(axis=1).argmin()].tolist()]


def _deviations(directions: np.ndarray) -> np.ndarray:
    """Degrees between each view and quarter ``q`` of the ring that each view starts, ``[start, 4, view]``."""
    azimuths = np.arctan2(directions[:, 0], directions[:, 2])[:, None] + np.arange(4) * (np.pi / 2)
    heights = np.broadcast_to(directions[:, 1, None], azimuths.shape)
    spans = np.sqrt((1 - heights**2).clip(0))
    wanted = np.stack((spans * np.sin(azimuths), heights, spans * np.cos(azimuths)), axis=-1)
    return np.rad2deg(np.arccos((wanted @ directions.T).clip(-1, 1)))


def _nearest_groups(deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every start view the four distinct views nearest to its ring, ``[V, 4]``, and their errors in degrees."""
    starts = np.arange(len(deviations))
    groups, errors = np.tile(starts[:, None], (1, 4)), np.zeros((len(starts), 4))
    free = deviations.copy()
    free[starts, :, starts] = np.inf
    for quarter in range(1, 4):
        groups[:, quarter] = free[:, quarter].argmin(axis=1)
        errors[:, quarter] = free[starts, quarter, groups[:, quarter]]
        free[starts, :, groups[:, quarter]] = np.inf
    return groups, errors
