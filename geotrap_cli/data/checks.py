"""Self-checks of posed views. Each catches an error that has silently spoiled results: a flipped camera axis, a
scaled rotation, cameras that face away, a pose that belongs to another image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geotrap_cli.data.files import DataPath
from geotrap_cli.errors import UsageError

MIN_VIEWS = 4
ROTATION_TOLERANCE = 1e-3
AXIS_TOLERANCE = 0.15
"""Largest distance between an optical axis and the origin, in camera distances."""
DISTANCE_RATIO = 2.0
"""Largest over smallest camera distance."""
HULL_SHARE = 0.85
"""Share of the rays of silhouettes that must meet the others: right poses give 0.98 (0.94 in one view) and more."""
UPSIDE_DOWN = -0.1
"""Largest height of the end of a camera's up axis that counts as pointing down."""
TRACED_VIEWS = 3
RAYS_PER_VIEW = 32
DEPTHS_PER_RAY = 64
_POSE_HINT = "Poses must be camera-to-world in Blender's convention: z-up world, camera looking along -z"


def check_poses(viewmats: np.ndarray, source: DataPath | str, frames: Sequence[int] = ()) -> None:
    """Check ``[V, 4, 4]`` world-to-camera poses: their number, rotations, axes through the origin, distances.

    Args:
        viewmats: the poses.
        source: the file they come from, or another name for them.
        frames: the number of each in that file; 0, 1, 2 and so on where empty.

    Raises:
        UsageError: names ``source`` and the frame at fault.
    """
    if len(viewmats) < MIN_VIEWS:
        raise UsageError(f"{source}: {len(viewmats)} views are too few", hint="A generator takes four input views")
    if not np.isfinite(viewmats).all():
        raise UsageError(f"{source}: a pose holds a number that is not finite", hint=_POSE_HINT)
    numbers = frames or range(len(viewmats))
    _check_rotations(viewmats, source, numbers)
    _check_axes(viewmats, source, numbers)
    # Silhouettes alone cannot tell: seen from afar, an object turned about every optical axis is its own mirror image.
    if (up_heights(viewmats) < UPSIDE_DOWN).all():
        raise UsageError(f"{source}: every camera is upside down", hint=_POSE_HINT)


def rotation_errors(viewmats: np.ndarray) -> np.ndarray:
    """Return how far the rotations of ``[V, 4, 4]`` poses are from orthonormal, ``[V]``; infinite if mirrored."""
    rotations = viewmats[:, :3, :3]
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    return np.where(np.linalg.det(rotations) < 0, np.inf, errors)


def axis_offsets(viewmats: np.ndarray) -> np.ndarray:
    """Return the distance of each optical axis from the origin in camera distances, ``[V]``.

    It is infinite for a camera that has the origin behind it.
    """
    # In camera coordinates the origin must lie ahead (z > 0) and near the axis (x, y small).
    origins = viewmats[:, :3, 3]
    distances = np.linalg.norm(origins, axis=-1)
    offsets = np.linalg.norm(origins[:, :2], axis=-1) / np.maximum(distances, 1e-12)
    return np.where(origins[:, 2] > 0, offsets, np.inf)


def up_heights(viewmats: np.ndarray) -> np.ndarray:
    """Return how far the up axis of each camera rises in the y-up world, ``[V]``: 1 for a level camera."""
    heights: np.ndarray = -viewmats[:, 1, 1]
    return heights


def _check_rotations(viewmats: np.ndarray, source: DataPath | str, frames: Sequence[int]) -> None:
    wrong = rotation_errors(viewmats) > ROTATION_TOLERANCE
    if wrong.any():
        what = f"frame {frames[int(wrong.argmax())]}: transform_matrix holds no rotation"
        raise UsageError(f"{source}: {what}", hint="Divide scale out of it; its determinant must be +1")


def _check_axes(viewmats: np.ndarray, source: DataPath | str, frames: Sequence[int]) -> None:
    astray = axis_offsets(viewmats) > AXIS_TOLERANCE
    if astray.any():
        first = int(astray.argmax())
        ahead = "faces away from" if viewmats[first, 2, 3] <= 0 else "does not look at"
        raise UsageError(f"{source}: frame {frames[first]}: the camera {ahead} the origin", hint=_POSE_HINT)
    distances = np.linalg.norm(viewmats[:, :3, 3], axis=-1)
    if distances.max() > DISTANCE_RATIO * distances.min():
        what = f"camera distances range from {distances.min():.3g} to {distances.max():.3g}"
        raise UsageError(f"{source}: {what}", hint="Keep all cameras of an object at about one distance")


def check_silhouettes(alphas: np.ndarray, viewmats: np.ndarray, Ks: np.ndarray, source: DataPath | str) -> float:
    """Check that the silhouettes of an object agree with its cameras: their visual hull is not empty.

    Points are laid along the rays of sampled foreground pixels of a few views; most rays must own a point that
    projects into every other silhouette (one pixel of slack) or out of its picture. Deterministic and cheap. An
    object of revolution agrees with many wrong poses, and then they do it no harm.

    Args:
        alphas: ``[V, H, W]`` in [0, 1].
        viewmats: ``[V, 4, 4]`` world-to-camera.
        Ks: ``[V, 3, 3]`` intrinsics for an image of width and height 1.
        source: the file they come from, or another name for them.

    Returns:
        The share of the rays that meet the hull.

    Raises:
        UsageError: a view is opaque everywhere, all views are empty, or the silhouettes disagree.
    """
    share = float(np.nanmean(hull_shares(alphas, viewmats, Ks, source, TRACED_VIEWS)))
    if share < HULL_SHARE:
        what = f"silhouettes disagree with the poses ({share:.0%} of the rays meet the visual hull)"
        raise UsageError(f"{source}: {what}", hint=_POSE_HINT)
    return share


def check_every_silhouette(
    alphas: np.ndarray, viewmats: np.ndarray, Ks: np.ndarray, source: DataPath | str, frames: Sequence[int] = ()
) -> float:
    """Check the silhouette of each view against all others: slower than :func:`check_silhouettes`, and names the view.

    Args:
        alphas: as there, and so on.
        viewmats: world-to-camera.
        Ks: intrinsics.
        source: the file they come from.
        frames: the number of each view in that file; 0, 1, 2 and so on where empty.

    Returns:
        The smallest share of a view's rays that meet the hull.

    Raises:
        UsageError: as there, or the silhouette of a view disagrees with those of the other views.
    """
    shares = hull_shares(alphas, viewmats, Ks, source, len(alphas))
    worst = int(np.nanargmin(shares))
    if shares[worst] < HULL_SHARE:
        number = (frames or range(len(alphas)))[worst]
        what = f"frame {number}: its silhouette disagrees with the other views ({shares[worst]:.0%} of its rays meet"
        raise UsageError(f"{source}: {what} their visual hull)", hint="Its image or its pose belongs to another view")
    return float(shares[worst])


def hull_shares(
    alphas: np.ndarray, viewmats: np.ndarray, Ks: np.ndarray, source: DataPath | str, count: int
) -> np.ndarray:
    """Return the share of rays that meet the visual hull for ``count`` views, ``[V]``; NaN for the other views.

    Raises:
        UsageError: a view is opaque everywhere, or all views are empty.
    """
    masks = alphas > 0.25
    if masks.all(axis=(1, 2)).any():
        raise UsageError(f"{source}: a view is opaque everywhere", hint="Render with a transparent film (RGBA)")
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(seen):
        raise UsageError(f"{source}: every view is empty", hint="The object must be visible to its cameras")
    grown, shares = _dilated(masks), np.full(len(masks), np.nan)
    for view in _spread(seen, count):
        shares[view] = _share_in_hull(view, masks, grown, viewmats, Ks)
    return shares


def _share_in_hull(view: int, masks: np.ndarray, grown: np.ndarray, viewmats: np.ndarray, Ks: np.ndarray) -> float:
    """Share of the sampled foreground rays of ``view`` that own a point inside every silhouette."""
    points = _points_on_rays(masks[view], viewmats[view], Ks[view])
    inside = np.ones(points.shape[:2], dtype=bool)
    for other in range(len(masks)):
        if other != view:
            inside &= _covered(points, grown[other], viewmats[other], Ks[other])
    return float(inside.any(axis=1).mean())


def _points_on_rays(mask: np.ndarray, viewmat: np.ndarray, K: np.ndarray) -> np.ndarray:
    """World points ``[rays, depths, 3]`` behind foreground pixels, from half to one and a half camera distances."""
    pixels = _spread(np.argwhere(mask), RAYS_PER_VIEW)
    unit = (pixels[:, ::-1] + 0.5) / mask.shape[::-1]
    rays = np.column_stack((unit, np.ones(len(unit)))) @ np.linalg.inv(K).T
    depths = viewmat[2, 3] * np.linspace(0.5, 1.5, DEPTHS_PER_RAY)
    local = rays[:, None] * depths[:, None]
    return (local - viewmat[:3, 3]) @ viewmat[:3, :3]


def _covered(points: np.ndarray, mask: np.ndarray, viewmat: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Whether each of ``[..., 3]`` points projects onto ``mask``, or beside the picture where nothing is known."""
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    depth = local[..., 2]
    image = (local @ K.T)[..., :2] / np.where(depth > 0, depth, np.inf)[..., None]
    columns, rows = (np.floor(image[..., axis] * mask.shape[1 - axis]).astype(int) for axis in (0, 1))
    height, width = mask.shape
    beside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    return (depth > 0) & (beside | mask[rows.clip(0, height - 1), columns.clip(0, width - 1)])


def _spread(items: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of ``items``, evenly spaced over their order."""
    return items[np.linspace(0, len(items) - 1, min(len(items), count)).astype(int)]


def _dilated(masks: np.ndarray) -> np.ndarray:
    """Masks grown by one pixel in every direction."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    height, width = masks.shape[1:]
    return np.any([padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
