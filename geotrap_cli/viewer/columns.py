"""Three columns under one camera: where to put each so that all are seen from the very same side.

A browser has one camera for the whole scene. Side by side and at rest, the columns would be seen from different
sides, and behind each other once the camera turns. So each column is the scene turned about the camera's own centre,
around the axis that is up on the screen: that moves it across the picture and leaves alone from where, and from how
far, it is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_LABEL_HEIGHT, _ROOM = 0.52, 0.62
"""How far above the centre of its column a label stands, and what has to be in sight, as shares of the spacing."""


@dataclass(frozen=True)
class Pose:
    """Where a column goes.

    Attributes:
        wxyz: Its rotation.
        position: Its origin.
        label: Where its label goes.
    """

    wxyz: Vector
    position: Vector
    label: Vector


def column_poses(camera: Vector, look_at: Vector, up: Vector, count: int, spacing: float) -> list[Pose]:
    """Return the poses of ``count`` columns from left to right.

    Args:
        camera: Centre of the camera [3].
        look_at: Where it looks [3].
        up: Any direction [3] that is up on the screen.
        count: Number of columns.
        spacing: Width that each takes up at the distance of the origin.
    """
    screen_up = _screen_up(look_at - camera, up)
    distance = float(np.linalg.norm(camera))
    step = 2 * math.atan2(spacing / 2, distance)
    poses = []
    for index in range(count):
        # Counter-clockwise from above goes to the left of whoever looks.
        angle = step * ((count - 1) / 2 - index)
        wxyz = np.concatenate(([math.cos(angle / 2)], math.sin(angle / 2) * screen_up))
        origin = camera - rotate(wxyz, camera)
        poses.append(Pose(wxyz, origin, origin + _LABEL_HEIGHT * spacing * screen_up))
    return poses


def fitting_fov(distance: float, spacing: float, count: int, aspect: float) -> float:
    """Return the vertical field of view, radians, that just holds ``count`` columns with their labels.

    Args:
        distance: Of the camera from the origin.
        spacing: As in `column_poses`, and the height of a column without its label.
        count: Number of columns.
        aspect: Width of the picture by its height.
    """
    step = math.atan2(spacing / 2, distance)
    # Beyond a right angle to either side nothing can be seen, however wide the picture.
    across = math.tan(min(count * step, math.radians(75)))
    return 2 * math.atan(max(across / aspect, _ROOM * spacing / distance))


def rotate(wxyz: Vector, vector: Vector) -> Vector:
    """Return ``vector`` [3] turned by a unit quaternion."""
    scalar, axis = wxyz[0], wxyz[1:]
    once = np.cross(axis, vector)
    turned: Vector = vector + 2 * (scalar * once + np.cross(axis, once))
    return turned


def _screen_up(forward: Vector, up: Vector) -> Vector:
    """Return the part of ``up`` at right angles to ``forward``, of length one."""
    forward = forward / np.linalg.norm(forward)
    across = up - float(up @ forward) * forward
    if np.linalg.norm(across) < 1e-9:
        # Straight down or up: any direction across will do, but it has to be one.
        across = np.cross(forward, np.eye(3)[int(np.argmin(np.abs(forward)))])
    return np.asarray(across / np.linalg.norm(across))
