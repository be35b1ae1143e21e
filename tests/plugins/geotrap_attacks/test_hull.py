"""The visual hull of balls, whose surfaces are known."""

from __future__ import annotations

import torch
from geotrap_attacks._hull import REACH, SAMPLES, hull_points

from geotrap_cli.attacks import AttackContext
from geotrap_cli.cameras import pixel_directions


def test_points_lie_on_their_rays_and_near_the_surface(context: AttackContext) -> None:
    batch = context.target(0, 2)
    size = batch.input_cameras.width
    points = hull_points(batch, size).view(2, 4, size, size, 3)
    origins = batch.input_cameras.centers[:, :, None, None]
    offsets = points - origins
    along = offsets / offsets.norm(dim=-1, keepdim=True)
    assert torch.allclose(along, pixel_directions(batch.input_cameras), atol=1e-4)

    covered = batch.input_alpha > 0
    pixel = 1.5 / (0.5 * size / 0.4568)
    for index in range(2):
        radius = points[index][covered[index]].norm(dim=-1)
        # From the area of the drawn disc; the hull lies outside the ball, by no more than pixels and few views allow.
        shown = float(covered[index].float().sum(dim=(1, 2)).mean() / torch.pi) ** 0.5 * pixel
        assert shown - 1.5 * pixel < float(radius.median()) < shown + 2 * pixel


def test_the_nearest_of_equally_good_points_wins(context: AttackContext) -> None:
    batch = context.target(0, 1)
    everywhere = type(batch)(
        **{**vars(batch), "input_alpha": torch.ones_like(batch.input_alpha), "alpha": batch.alpha * 0}
    )
    depth = (hull_points(everywhere, 4) - 0).view(1, 4, -1, 3) - batch.input_cameras.centers[:, :, None]
    # Four views agree on a long stretch; the first sample of it is at or soon after the near end of the ray.
    assert float(depth.norm(dim=-1).min()) >= 1.5 - REACH - 1e-4
    assert float(depth.norm(dim=-1).median()) < 1.5


def test_points_do_not_depend_on_the_other_objects(context: AttackContext) -> None:
    both, one = context.target(0, 2), context.target(0, 1)
    assert torch.equal(hull_points(both, 8)[:1], hull_points(one, 8))
    assert SAMPLES > 2
