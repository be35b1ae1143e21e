"""How far the visible Gaussians of two reconstructions of one object lie apart: Chamfer distance and F-score.

A cloud is the set of centres of the Gaussians with an opacity of at least :data:`VISIBLE_OPACITY`, each counting once.
The reference is what the undefended weights reconstruct from the same input views before any attack: a defense that
moves Gaussians shows here, also where a picture hides it. Neither number says how good a reconstruction is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import GaussianBatch

VISIBLE_OPACITY = 0.1
"""Opacity from which a Gaussian belongs to its cloud: below it, ten of them in a row still let a third through."""
FSCORE_DISTANCE = 0.05
"""World units within which a point counts as found; objects fill a cube of side 2."""
CHAMFER, FSCORE = "chamfer", "fscore"
"""What both numbers are called among the metrics of an object."""

Points = NDArray[np.float64]


def visible_points(gaussians: GaussianBatch, threshold: float = VISIBLE_OPACITY) -> list[Points]:
    """Return the centres ``[n, 3]`` of the visible Gaussians of each object, world units."""
    means, seen = gaussians.means.detach().double().cpu(), (gaussians.opacities.detach() >= threshold).cpu()
    return [np.asarray(centres[mask].numpy()) for centres, mask in zip(means, seen, strict=True)]


def chamfer_distance(cloud: Points, reference: Points) -> float:
    """Return the mean of both mean distances to the nearest point of the other cloud, world units.

    Distances are not squared. ``inf`` when one cloud is empty, ``nan`` when both are.
    """
    there, back = _nearest(cloud, reference), _nearest(reference, cloud)
    if not (len(cloud) and len(reference)):
        return np.nan if len(cloud) == len(reference) else np.inf
    return float((there.mean() + back.mean()) / 2)


def f_score(cloud: Points, reference: Points, distance: float = FSCORE_DISTANCE) -> float:
    """Return the harmonic mean of precision and recall within ``distance`` (Knapitsch et al. 2017), in [0, 1].

    Precision is the share of ``cloud`` with a reference point at most ``distance`` away, recall the reverse. 0 when one
    cloud is empty, ``nan`` when both are.
    """
    if not (len(cloud) and len(reference)):
        return np.nan if len(cloud) == len(reference) else 0.0
    precision, recall = ((_nearest(*pair) <= distance).mean() for pair in ((cloud, reference), (reference, cloud)))
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def cloud_metrics(cloud: Points, reference: Points) -> dict[str, float]:
    """Return both numbers by name."""
    return {CHAMFER: chamfer_distance(cloud, reference), FSCORE: f_score(cloud, reference)}


def _nearest(cloud: Points, reference: Points) -> NDArray[np.float64]:
    """Return the distance of each point of ``cloud`` to the nearest of ``reference``, ``inf`` where there is none."""
    from scipy.spatial import KDTree

    for points in (cloud, reference):
        if points.ndim != 2 or points.shape[1] != 3:
            raise GeotrapError(f"a cloud must be [n, 3], got {list(points.shape)}")
    if not len(reference):
        return np.full(len(cloud), np.inf)
    return np.asarray(KDTree(reference).query(cloud)[0])
