from __future__ import annotations

import numpy as np
import pytest

from geotrap_cli.data.procedural.assembly import ObjectMesh, assemble
from geotrap_cli.data.procedural.primitives import box, sphere
from geotrap_cli.data.procedural.textures import Material
from geotrap_cli.data.raycast import AMBIENT, DIFFUSE, render_views, surface_points
from geotrap_cli.data.rig import RADIUS, RINGS, blender_poses, quads

RED, BLUE = Material((0.8, 0.2, 0.1)), Material((0.1, 0.2, 0.8))


@pytest.fixture(scope="module")
def ball() -> ObjectMesh:
    return assemble([sphere(1.0, (0, 0, 0), RED, 4)])


def test_poses_are_rigid_look_at_the_origin_and_form_three_rings() -> None:
    poses = blender_poses()
    rotations, centers = poses[:, :3, :3], poses[:, :3, 3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (24, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_allclose(rotations[:, :, 2] * RADIUS, centers, atol=1e-12)
    elevations = np.degrees(np.arcsin(centers[:, 2] / RADIUS)).reshape(3, 8)
    np.testing.assert_allclose(elevations, np.array([[e] for e, _ in RINGS]) + np.zeros((3, 8)), atol=1e-9)
    assert (rotations[:, 2, 1] > 0).all()


def test_quads_are_a_quarter_turn_apart_in_one_ring_and_start_everywhere() -> None:
    centers = blender_poses()[:, :3, 3]
    found = quads()
    assert sorted(quad[0] for quad in found) == list(range(24))
    for quad in found:
        azimuths = np.degrees(np.arctan2(centers[quad, 1], centers[quad, 0]))
        np.testing.assert_allclose(np.mod(np.diff(azimuths), 360.0), 90.0)
        assert len(set(np.round(centers[quad, 2], 9))) == 1


def test_a_ball_covers_the_known_disc_in_every_view(ball: ObjectMesh) -> None:
    alpha = render_views(ball, 64)[..., 3] / 255.0
    radius = 0.55 / np.sqrt(RADIUS**2 - 0.55**2) * 0.5 * 64 / np.tan(np.radians(49.1) / 2)
    np.testing.assert_allclose(alpha.sum(axis=(1, 2)), np.pi * radius**2, rtol=0.02)


def test_light_stays_between_ambient_and_full_and_comes_from_above(ball: ObjectMesh) -> None:
    view = render_views(ball, 64)[0]
    inside = view[view[..., 3] == 255][:, 0] / 255.0
    assert inside.min() >= 0.8 * AMBIENT - 0.005
    assert inside.max() <= min(0.8 * (AMBIENT + DIFFUSE), 1.0) + 0.005
    assert view[20, 32, 0] > view[44, 32, 0]


def test_colours_sit_where_the_parts_are() -> None:
    # Blue at +y, red elsewhere: the camera on +x sees blue on its right, below the red top.
    cube, red = (0.2, 0.2, 0.2), [(0.5, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.0, -0.5, 0.0), (0.0, 0.0, 0.4)]
    mesh = assemble([box(cube, (0.0, 0.5, 0.0), BLUE), *(box(cube, at, RED) for at in red)])
    view = render_views(mesh, 64)[0].astype(int)
    blue = (view[..., 3] == 255) & (view[..., 2] > view[..., 0])
    rows, columns = np.nonzero(blue)
    assert columns.min() > 40
    top = np.nonzero(view[..., 3].any(axis=1))[0].min()
    assert top < rows.min()


def test_surface_points_of_a_ball_lie_on_it_in_front_of_the_camera(ball: ObjectMesh) -> None:
    points = surface_points(ball, 32)
    hit = ~np.isnan(points[..., 0])
    disc = 0.55 / np.sqrt(RADIUS**2 - 0.55**2) * 0.5 / np.tan(np.radians(49.1) / 2)
    assert hit.mean() == pytest.approx(np.pi * disc**2, rel=0.03)
    np.testing.assert_allclose(np.linalg.norm(points[hit], axis=-1), 0.55, atol=0.003)
    towards = np.einsum("vhwi,vi->vhw", points, blender_poses()[:, :3, 3])
    assert (towards[hit] > 0).all()


def test_no_view_is_empty_or_spills_colour_where_nothing_is(ball: ObjectMesh) -> None:
    view = render_views(ball, 32)
    assert (view[view[..., 3] == 0] == 0).all()
    edge = view[(view[..., 3] > 0) & (view[..., 3] < 255)]
    assert len(edge) > 0
    assert edge[:, 0].min() >= int(255 * 0.8 * AMBIENT) - 1
