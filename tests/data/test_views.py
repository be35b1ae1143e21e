"""Batches: what is in them, which frame they are in, and on what they depend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from geotrap_cli.cameras import Cameras, invert_rigid, plucker_rays
from geotrap_cli.data.batch import IMAGENET_MEAN, IMAGENET_STD, ViewDraw, assemble
from geotrap_cli.data.blender import BlenderConfig, BlenderDataset
from geotrap_cli.data.views import ViewBatch, ViewSampler, evaluation_batches
from geotrap_cli.errors import UsageError

IDS = ("tool/c", "toy/a", "toy/b")


@pytest.fixture
def dataset(balls: Any) -> BlenderDataset:
    return BlenderDataset(BlenderConfig(root=balls.root))


class WithSurface:
    """Adds surface points to a data set: one known world point everywhere, with a hole."""

    point = (0.6, 0.2, -0.1)

    def __init__(self, dataset: BlenderDataset) -> None:
        self.dataset = dataset
        self.records = dataset.records
        self.rings, self.views, self.fingerprint = dataset.rings, dataset.views, dataset.fingerprint

    def surface_points(self, id: str, indices: Sequence[int], size: int) -> Tensor:
        points = torch.tensor(self.point).expand(len(indices), size, size, 3).clone()
        points[:, 0, 0] = float("nan")
        return points


def tensors(batch: ViewBatch) -> list[Tensor]:
    values = [getattr(batch, field.name) for field in fields(batch)]
    flat = [[v.viewmats, v.Ks] if isinstance(v, Cameras) else [v] for v in values]
    return [tensor for group in flat for tensor in group if isinstance(tensor, Tensor)]


def equal(first: ViewBatch, second: ViewBatch) -> bool:
    pairs = zip(tensors(first), tensors(second), strict=True)
    return first.ids == second.ids and all(torch.equal(a, b) for a, b in pairs)


def test_shapes_and_ranges(dataset: BlenderDataset) -> None:
    batch = ViewSampler(dataset, IDS, 16, 24, 5, seed=0).batch(0, 2)
    assert len(batch) == len(batch.ids) == 2
    assert batch.images.shape == (2, 4, 9, 16, 16)
    assert batch.rgb.shape == (2, 5, 24, 24, 3) and batch.alpha.shape == (2, 5, 24, 24)
    assert batch.cameras.viewmats.shape == (2, 5, 4, 4) and batch.cameras.Ks.shape == (2, 5, 3, 3)
    assert (batch.cameras.width, batch.cameras.height) == (24, 24)
    assert batch.input_rgb.shape == (2, 4, 16, 16, 3) and batch.input_alpha.shape == (2, 4, 16, 16)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors(batch))
    assert batch.rgb.min() >= 0 and batch.rgb.max() <= 1
    assert batch.surface_points is None and batch.surface_mask is None


def test_the_background_is_white_and_alpha_is_the_silhouette(dataset: BlenderDataset) -> None:
    batch = assemble(dataset, [ViewDraw("toy/a", (0, 2, 4, 6), (1, 9))], 48, 48)
    rgba = dataset.views("toy/a", [1, 9], 48).rgba
    assert torch.equal(batch.alpha[0], rgba[..., 3])
    assert (batch.rgb[0][rgba[..., 3] == 0] == 1).all()
    assert torch.equal(batch.rgb[0][rgba[..., 3] == 1], rgba[..., :3][rgba[..., 3] == 1])
    assert 0 < batch.input_alpha.mean() < 0.5


def test_images_are_normalised_colours_and_plucker_rays(dataset: BlenderDataset) -> None:
    batch = ViewSampler(dataset, IDS, 16, 16, 1, seed=0).batch(0, 3)
    colors = batch.images[:, :, :3].movedim(2, -1) * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
    torch.testing.assert_close(colors, batch.input_rgb)
    torch.testing.assert_close(batch.images[:, :, 3:], plucker_rays(batch.input_cameras))


def test_the_first_input_view_is_at_rest_and_the_ring_goes_round(dataset: BlenderDataset) -> None:
    batch = assemble(dataset, [ViewDraw("toy/a", (2, 4, 6, 0), (3,))], 8, 8)
    resting = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    resting[2, 3] = 1.5
    assert torch.equal(batch.input_cameras.viewmats[0, 0], resting)
    wanted = torch.tensor([[0, 0, 1.5], [1.5, 0, 0], [0, 0, -1.5], [-1.5, 0, 0]])
    torch.testing.assert_close(batch.input_cameras.centers[0], wanted, atol=1e-5, rtol=0)
    between = torch.tensor([[1.5, 0, 1.5]]) / 2**0.5
    torch.testing.assert_close(batch.cameras.centers[0], between, atol=1e-5, rtol=0)


def test_the_same_view_has_the_same_camera_as_input_and_as_target(dataset: BlenderDataset) -> None:
    batch = assemble(dataset, [ViewDraw("toy/a", (8, 10, 12, 14), (10, 8))], 24, 24)
    torch.testing.assert_close(batch.cameras.viewmats[0], batch.input_cameras.viewmats[0, [1, 0]])
    assert torch.equal(batch.rgb[0], batch.input_rgb[0, [1, 0]])


def test_a_ball_projects_onto_its_picture_in_the_new_frame(dataset: BlenderDataset) -> None:
    draw = ViewDraw("toy/a", (9, 11, 13, 15), (0, 3, 12))
    batch = assemble(dataset, [draw], 48, 48, None)
    # The ball at the world's origin: 3 units before the first camera, so at the new frame's origin.
    image = batch.cameras.Ks[0] @ batch.cameras.viewmats[0, :, :3, 3:]
    pixels = (image[:, :2, 0] / image[:, 2:, 0]).round()
    torch.testing.assert_close(pixels, torch.full((3, 2), 24.0))
    assert (batch.alpha[0, :, 24, 24] == 1).all()


def test_batches_depend_on_seed_and_step_alone(dataset: BlenderDataset, balls: Any) -> None:
    fresh = BlenderDataset(BlenderConfig(root=balls.root))
    sampler, other = ViewSampler(dataset, IDS, 16, 16, 3, 7), ViewSampler(fresh, IDS, 16, 16, 3, 7)
    sampler.batch(0, 2), sampler.batch(1, 2)
    assert equal(sampler.batch(5, 2), other.batch(5, 2))
    assert not equal(sampler.batch(5, 2), sampler.batch(6, 2))
    assert not equal(sampler.batch(5, 2), ViewSampler(dataset, IDS, 16, 16, 3, 8).batch(5, 2))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_objects_appear_equally_often(dataset: BlenderDataset, batch_size: int) -> None:
    sampler = ViewSampler(dataset, IDS, 4, 4, 1, 0)
    count = Counter(id for step in range(3) for id in sampler.batch(step, batch_size).ids)
    assert set(count.values()) == {batch_size}


def test_epochs_are_shuffled_anew(dataset: BlenderDataset) -> None:
    sampler = ViewSampler(dataset, IDS, 4, 4, 1, 0)
    assert len({tuple(sampler.batch(step, 3).ids) for step in range(12)}) > 2


def test_every_ring_and_every_target_view_gets_its_turn(dataset: BlenderDataset) -> None:
    sampler = ViewSampler(dataset, ["toy/a"], 4, 4, 8, 0)
    seen = {round(float(c), 3) for step in range(30) for c in sampler.batch(step, 1).cameras.centers[0, :, 1]}
    assert len(seen) > 3


def test_evaluation_shows_each_object_once_with_novel_views(dataset: BlenderDataset) -> None:
    batches = list(evaluation_batches(dataset, IDS, 16, 24, 6, 2, seed=0))
    assert [batch.ids for batch in batches] == [["tool/c", "toy/a"], ["toy/b"]]
    for batch in batches:
        inputs, novel = batch.input_cameras.centers[:, :, None], batch.cameras.centers[:, None]
        assert (inputs - novel).norm(dim=-1).min() > 0.1
        pairs = (batch.cameras.centers[:, :, None] - batch.cameras.centers[:, None]).norm(dim=-1)
        assert (pairs + 10 * torch.eye(6)).min() > 0.1


def test_evaluation_does_not_depend_on_the_batch_or_on_other_objects(dataset: BlenderDataset) -> None:
    (alone,) = evaluation_batches(dataset, ["toy/b"], 16, 16, 4, 8, seed=3)
    (together,) = evaluation_batches(dataset, IDS, 16, 16, 4, 8, seed=3)
    assert torch.equal(alone.images[0], together.images[2])
    assert torch.equal(alone.rgb[0], together.rgb[2])
    (other,) = evaluation_batches(dataset, ["toy/b"], 16, 16, 4, 8, seed=4)
    assert not torch.equal(alone.cameras.viewmats, other.cameras.viewmats)


def test_evaluation_draws_differ_between_objects_with_the_same_poses(dataset: BlenderDataset) -> None:
    pairs = [
        next(evaluation_batches(dataset, ["toy/a", "toy/b"], 4, 4, 4, 2, seed)).cameras.viewmats for seed in range(3)
    ]
    assert not any(torch.equal(viewmats[0], viewmats[1]) for viewmats in pairs)


def test_surface_points_move_with_the_cameras(dataset: BlenderDataset) -> None:
    sampler = ViewSampler(WithSurface(dataset), IDS, 16, 16, 2, 0, surface=True, surface_size=6)
    batch = sampler.batch(0, 3)
    assert batch.surface_points is not None and batch.surface_mask is not None
    assert batch.surface_points.shape == (3, 4, 6, 6, 3)
    assert (~batch.surface_mask[:, :, 0, 0]).all() and int((~batch.surface_mask).sum()) == 12
    assert batch.surface_points[:, :, 0, 0].isnan().all()
    # The point is the centre of the second ball: it must be seen where the picture shows the object.
    point = batch.surface_points[:, 0, 1, 1]
    local = torch.einsum("bvij,bj->bvi", batch.input_cameras.viewmats[..., :3, :3], point)
    image = torch.einsum("bvij,bvj->bvi", batch.input_cameras.Ks, local + batch.input_cameras.viewmats[..., :3, 3])
    pixels = (image[..., :2] / image[..., 2:]).long()
    for b in range(3):
        if batch.ids[b] != "tool/c":
            assert (batch.input_alpha[b, range(4), pixels[b, :, 1], pixels[b, :, 0]] > 0.5).all()


def test_surfaces_are_not_invented(dataset: BlenderDataset) -> None:
    with pytest.raises(UsageError, match="knows no surface points"):
        ViewSampler(dataset, IDS, 16, 16, 2, 0, surface=True).batch(0, 1)


def test_a_batch_moves_as_a_whole(dataset: BlenderDataset) -> None:
    batch = ViewSampler(WithSurface(dataset), IDS, 8, 8, 2, 0, surface=True).batch(0, 1).to("meta")
    assert batch.ids and all(tensor.device.type == "meta" for tensor in tensors(batch))


@pytest.mark.parametrize(
    ("ids", "views", "message"),
    [
        ([], 1, "no objects"),
        (["toy/z"], 1, "no object 'toy/z'"),
        (IDS, 17, "has 16 views, 17 are wanted"),
        (IDS, -1, "-1 views cannot be drawn"),
    ],
)
def test_impossible_draws_are_refused_at_once(
    dataset: BlenderDataset, ids: Sequence[str], views: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ViewSampler(dataset, ids, 8, 8, views, 0)
    with pytest.raises(UsageError, match=message):
        next(evaluation_batches(dataset, ids, 8, 8, views, 2, 0))


def test_evaluation_never_falls_back_to_input_views(dataset: BlenderDataset) -> None:
    with pytest.raises(UsageError, match="12 novel views, 13 are wanted"):
        next(evaluation_batches(dataset, IDS, 8, 8, 13, 2, 0))


def test_poses_are_rigid_in_the_new_frame(dataset: BlenderDataset) -> None:
    viewmats = ViewSampler(dataset, IDS, 8, 8, 6, 0).batch(2, 3).cameras.viewmats
    torch.testing.assert_close(viewmats @ invert_rigid(viewmats), torch.eye(4).expand(3, 6, 4, 4), atol=1e-5, rtol=0)
