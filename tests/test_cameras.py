"""Camera conventions, against poses worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geotrap_cli.cameras import (
    LGM_FOV_Y_DEG,
    Cameras,
    blender_to_viewmats,
    first_view_frame,
    intrinsics_from_fov,
    invert_rigid,
    opencv_c2w_to_viewmats,
    orbit_viewmats,
    pixel_directions,
    plucker_rays,
    points_to_first_view_frame,
)

OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
COS30, SIN30 = math.cos(math.radians(30)), 0.5
# In front of the object (Blender's -y), 30 degrees above, looking at it.
BLENDER_30_ABOVE = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, SIN30, -COS30, -1.5 * COS30],
        [0.0, COS30, SIN30, 1.5 * SIN30],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def camera(viewmat: Tensor, size: int = 4, fov: float = 1.0) -> Cameras:
    return Cameras(viewmat[None], intrinsics_from_fov(fov, size, size)[None], size, size)


def random_views(count: int = 5, seed: int = 0) -> Tensor:
    angles = torch.rand(2, count, generator=torch.Generator().manual_seed(seed))
    return orbit_viewmats(angles[0] * 60 - 30, angles[1] * 360, 2.4)


def test_a_blender_camera_30_degrees_above_is_orbit_minus_30() -> None:
    torch.testing.assert_close(blender_to_viewmats(BLENDER_30_ABOVE), orbit_viewmats(-30, 0), rtol=0, atol=1e-6)


def test_opencv_camera_axes_give_the_same_view() -> None:
    opencv = BLENDER_30_ABOVE @ OPENGL
    torch.testing.assert_close(opencv_c2w_to_viewmats(opencv), orbit_viewmats(-30, 0), rtol=0, atol=1e-6)


def test_blenders_up_and_side_land_where_lgm_puts_them() -> None:
    blender = torch.eye(4).repeat(2, 1, 1)
    blender[0, :3, 3] = torch.tensor([0.0, 0.0, 2.0])
    blender[1, :3, 3] = torch.tensor([3.0, -1.0, 0.0])
    viewmats = blender_to_viewmats(blender)
    torch.testing.assert_close(camera(viewmats[0]).centers[0], torch.tensor([0.0, 2.0, 0.0]), rtol=0, atol=0)
    torch.testing.assert_close(camera(viewmats[1]).centers[0], torch.tensor([3.0, 0.0, 1.0]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("elevation", "azimuth", "center"),
    [
        (0, 0, (0, 0, 1.5)),
        (0, 90, (1.5, 0, 0)),
        (0, 180, (0, 0, -1.5)),
        (30, 0, (0, -0.75, 1.5 * COS30)),
        (-30, 90, (1.5 * COS30, 0.75, 0)),
        (-90, 0, (0, 1.5, 0)),
    ],
)
def test_orbit_positions(elevation: float, azimuth: float, center: tuple[float, ...]) -> None:
    torch.testing.assert_close(
        camera(orbit_viewmats(elevation, azimuth)).centers[0], torch.tensor(center), atol=1e-6, rtol=0
    )


def test_orbit_cameras_look_at_the_origin_with_y_up() -> None:
    viewmats = orbit_viewmats(torch.linspace(-80, 80, 9), torch.linspace(0, 350, 9))
    origin = viewmats[:, :3, 3]
    torch.testing.assert_close(origin, torch.tensor([0.0, 0.0, 1.5]).expand(9, 3), atol=1e-6, rtol=0)
    above = (viewmats @ torch.tensor([0.0, 0.1, 0.0, 1.0]))[:, :3]
    assert (above[:, 1] < 0).all()
    assert above[:, 0].abs().max() < 1e-6
    torch.testing.assert_close(torch.linalg.det(viewmats[:, :3, :3]), torch.ones(9))


def test_the_first_view_is_at_rest_exactly() -> None:
    viewmats, factor = first_view_frame(random_views())
    opengl_c2w = invert_rigid(viewmats[0]) @ OPENGL
    assert torch.equal(opengl_c2w[:3, :3], torch.eye(3))
    assert torch.equal(opengl_c2w[:3, 3], torch.tensor([0.0, 0.0, 1.5]))
    assert factor.item() == pytest.approx(1.5 / 2.4)


def test_a_ring_at_elevation_zero_becomes_the_orbit_of_lgm() -> None:
    azimuths = torch.tensor([70.0, 160.0, 250.0, 340.0])
    viewmats, _ = first_view_frame(orbit_viewmats(0.0, azimuths, 4.0))
    torch.testing.assert_close(viewmats, orbit_viewmats(0.0, azimuths - 70, 1.5), atol=1e-6, rtol=0)


def test_one_factor_scales_all_views_of_an_object() -> None:
    views = orbit_viewmats(
        torch.tensor([0.0, 10.0, -20.0]), torch.tensor([0.0, 90.0, 200.0]), torch.tensor([3.0, 4.0, 1.5])
    )
    viewmats, factor = first_view_frame(views)
    assert factor.item() == pytest.approx(0.5)
    distances = viewmats[:, :3, 3].norm(dim=-1)
    torch.testing.assert_close(distances, torch.tensor([1.5, 2.0, 0.75]))


def test_rebasing_is_a_similarity_that_no_camera_can_see() -> None:
    views = random_views(6)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    viewmats, factor = first_view_frame(views)
    moved = points_to_first_view_frame(points, views[0])
    before = points @ views[:, :3, :3].mT + views[:, None, :3, 3]
    after = moved @ viewmats[:, :3, :3].mT + viewmats[:, None, :3, 3]
    torch.testing.assert_close(after, before * factor, atol=2e-6, rtol=0)


def test_rebasing_works_object_by_object() -> None:
    batch = torch.stack([random_views(4, seed) for seed in range(3)])
    batch[1, :, :3, 3] *= 2
    together, factors = first_view_frame(batch)
    assert factors.shape == (3,)
    for index in range(3):
        torch.testing.assert_close(together[index], first_view_frame(batch[index])[0], rtol=0, atol=0)


def test_a_camera_at_the_origin_has_no_scale() -> None:
    with pytest.raises(ValueError, match="origin"):
        first_view_frame(torch.eye(4)[None])


def test_intrinsics_of_lgm_at_512_pixels() -> None:
    K = intrinsics_from_fov(math.radians(LGM_FOV_Y_DEG), 512, 512)
    assert K[0, 0].item() == K[1, 1].item() == pytest.approx(560.444, abs=1e-3)
    assert K[:2, 2].tolist() == [256, 256]


def test_resizing_keeps_what_a_pixel_sees() -> None:
    cameras = camera(orbit_viewmats(10, 20), 8).resized(4, 2)
    assert (cameras.width, cameras.height) == (4, 2)
    original = intrinsics_from_fov(1.0, 8, 8)
    torch.testing.assert_close(cameras.Ks[0, 0], original[0] / 2)
    torch.testing.assert_close(cameras.Ks[0, 1], original[1] / 4)
    torch.testing.assert_close(cameras.Ks[0, 2], original[2])


def test_plucker_rays_of_two_by_two_pixels_by_hand() -> None:
    # Focal length 1 pixel: the pixel centres lie at +-0.5 on the image plane. The camera is at (0, 0, 1.5).
    viewmat = orbit_viewmats(0, 0)
    K = torch.tensor([[1.0, 0, 1], [0, 1.0, 1], [0, 0, 1]])
    rays = plucker_rays(Cameras(viewmat[None], K[None], 2, 2))
    assert rays.shape == (1, 6, 2, 2)
    unit = 1 / math.sqrt(1.5)
    top_left = torch.tensor([-0.5, 0.5, -1.0]) * unit
    torch.testing.assert_close(rays[0, 3:, 0, 0], top_left)
    # (0, 0, 1.5) x (x, y, z) = (-1.5 y, 1.5 x, 0)
    torch.testing.assert_close(rays[0, :3, 0, 0], torch.tensor([-0.75, -0.75, 0.0]) * unit)
    bottom_right = torch.tensor([0.5, -0.5, -1.0]) * unit
    torch.testing.assert_close(rays[0, 3:, 1, 1], bottom_right)


def test_rays_use_each_cameras_own_intrinsics() -> None:
    viewmats = orbit_viewmats(0, torch.tensor([0.0, 0.0]))
    Ks = torch.stack([intrinsics_from_fov(0.4, 6, 6), intrinsics_from_fov(0.9, 6, 6)])
    Ks[1, 0, 2] += 1
    rays = plucker_rays(Cameras(viewmats, Ks, 6, 6))
    for index in range(2):
        alone = plucker_rays(Cameras(viewmats[index : index + 1], Ks[index : index + 1], 6, 6))
        assert torch.equal(rays[index], alone[0])
    assert not torch.allclose(rays[0], rays[1])


@settings(max_examples=30, deadline=None)
@given(st.floats(-80, 80), st.floats(0, 360), st.floats(0.5, 4), st.floats(0.3, 1.5))
def test_a_point_along_a_pixels_ray_projects_into_that_pixel(
    elevation: float, azimuth: float, radius: float, fov: float
) -> None:
    K = intrinsics_from_fov(fov, 5, 5).double()[None]
    cameras = Cameras(orbit_viewmats(elevation, azimuth, radius).double()[None], K, 5, 5)
    points = cameras.centers[:, None, None] + 1.3 * pixel_directions(cameras)
    local = points @ cameras.viewmats[0, :3, :3].T + cameras.viewmats[0, :3, 3]
    image = local @ K[0].T
    pixels = image[..., :2] / image[..., 2:]
    rows, columns = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(5) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels[0], torch.stack((columns, rows), dim=-1).double(), atol=1e-5, rtol=0)


def test_moments_are_perpendicular_to_directions_and_measure_the_distance_to_the_origin() -> None:
    rays = plucker_rays(camera(orbit_viewmats(20, 130), 7)).double()
    moment, direction = rays[:, :3], rays[:, 3:]
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(1, 7, 7).double())
    assert (moment * direction).sum(dim=1).abs().max() < 1e-6
    # The middle pixel looks at the origin, so its line passes through it.
    assert moment[0, :, 3, 3].norm() < 1e-6


def test_selection_and_batches() -> None:
    viewmats = random_views(4)[None].repeat(2, 1, 1, 1)
    cameras = Cameras(viewmats, intrinsics_from_fov(1.0, 4, 4).expand(2, 4, 3, 3), 4, 4)
    assert cameras.centers.shape == (2, 4, 3)
    assert cameras.select(1).viewmats.shape == (2, 1, 4, 4)
    assert torch.equal(cameras.select([3, 0]).viewmats, viewmats[:, [3, 0]])
    assert plucker_rays(cameras).shape == (2, 4, 6, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    viewmats = blender_to_viewmats(BLENDER_30_ABOVE.to(dtype))[None]
    cameras = Cameras(viewmats, intrinsics_from_fov(1.0, 4, 4)[None].to(dtype), 4, 4)
    assert viewmats.dtype == first_view_frame(viewmats)[0].dtype == plucker_rays(cameras).dtype == dtype
    assert cameras.resized(2, 2).Ks.dtype == dtype


def test_gradients_pass_through_poses_and_rays() -> None:
    viewmats = random_views(2).double().requires_grad_()
    K = intrinsics_from_fov(1.0, 2, 2).double().expand(2, 3, 3)
    assert torch.autograd.gradcheck(lambda poses: plucker_rays(Cameras(poses, K, 2, 2)), (viewmats,))


@pytest.mark.parametrize(("viewmats", "Ks"), [((2, 4, 4), (3, 3, 3)), ((2, 3, 4), (2, 3, 3)), ((2, 4, 4), (2, 4, 4))])
def test_shapes_that_are_no_cameras_are_refused(viewmats: tuple[int, ...], Ks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="viewmats"):
        Cameras(torch.zeros(viewmats), torch.zeros(Ks), 4, 4)
