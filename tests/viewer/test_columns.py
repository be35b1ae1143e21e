"""Columns side by side: each is seen from the very same side, and in order from left to right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geotrap_cli.viewer.columns import column_poses, fitting_fov, rotate

UP = np.array([0.0, 1.0, 0.0])
ORIGIN = np.zeros(3)
number = st.floats(-20, 20)


def inverse(wxyz: np.ndarray) -> np.ndarray:
    return wxyz * np.array([1, -1, -1, -1])


@settings(max_examples=30, deadline=None)
@given(st.tuples(number, number, number), st.floats(0.5, 20))
def test_each_column_sees_the_camera_where_it_is(place: tuple[float, float, float], spacing: float) -> None:
    camera = np.array(place)
    assume(np.linalg.norm(camera) > 1)
    for pose in column_poses(camera, ORIGIN, UP, 3, spacing):
        seen = rotate(inverse(pose.wxyz), camera - pose.position)
        np.testing.assert_allclose(seen, camera, atol=1e-6)


def test_they_stand_from_left_to_right_at_the_spacing() -> None:
    camera = np.array([0.0, 0.0, 30.0])
    left, middle, right = column_poses(camera, ORIGIN, UP, 3, 4.0)
    np.testing.assert_allclose(middle.position, ORIGIN, atol=1e-9)
    np.testing.assert_allclose(middle.wxyz, [1, 0, 0, 0], atol=1e-9)
    # Whoever looks along -z with y up has +x to the right.
    assert left.position[0] < 0 < right.position[0]
    sight = right.position - camera
    assert math.acos(sight @ -camera / 30**2) == pytest.approx(2 * math.atan(2 / 30))
    assert np.linalg.norm(left.position - camera) == pytest.approx(30.0)


def test_they_stay_side_by_side_when_the_camera_goes_around() -> None:
    camera = np.array([30.0, 0.0, 0.0])
    left, _, right = column_poses(camera, ORIGIN, UP, 3, 4.0)
    # From +x the right hand is -z.
    assert right.position[2] < 0 < left.position[2]
    assert abs(right.position[1]) < 1e-9


def test_labels_stand_above_on_the_screen() -> None:
    """Seen from straight above, up on the screen is some way across the ground."""
    for camera in (np.array([0.0, 0.0, 9.0]), np.array([0.0, 9.0, 0.0])):
        (pose,) = column_poses(camera, ORIGIN, UP, 1, 2.0)
        raised = pose.label - pose.position
        assert raised @ (camera / 9.0) == pytest.approx(0.0, abs=1e-9)
        assert np.linalg.norm(raised) == pytest.approx(1.04)
    (pose,) = column_poses(np.array([0.0, 0.0, 9.0]), ORIGIN, UP, 1, 2.0)
    assert pose.label[1] > 0


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 50), st.floats(0.3, 4))
def test_the_field_of_view_holds_every_column(distance: float, aspect: float) -> None:
    spacing = distance / 3
    camera = np.array([0.0, 0.0, distance])
    fov = fitting_fov(distance, spacing, 3, aspect)
    height = math.tan(fov / 2)
    for pose in column_poses(camera, ORIGIN, UP, 3, spacing):
        for corner in ([-0.5, 0.5], [0.5, -0.5]):
            place = rotate(pose.wxyz, np.array([*corner, 0.0]) * spacing) + pose.position - camera
            assert abs(place[0] / place[2]) <= height * aspect * 1.01
        assert abs(pose.label[1] / (pose.label[2] - distance)) <= height * 1.1
    assert 0 < fov < math.pi
