"""Self-checks on arrays: what right data look like, and what is tolerated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geotrap_cli.cameras import intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.checks import check_poses, check_silhouettes
from geotrap_cli.errors import UsageError

SOURCE = Path("set/transforms.json")
VIEWMATS = orbit_viewmats(-15.0, torch.arange(0.0, 360, 45), 2.0).double().numpy()
KS = np.repeat(intrinsics_from_fov(0.9, 1, 1).double().numpy()[None], 8, axis=0)


def discs(points: np.ndarray, size: int = 64, reach: float = 2.5) -> np.ndarray:
    """Alpha of small discs around projected ``points``, [V, size, size]."""
    local = np.einsum("vij,nj->vni", VIEWMATS[:, :3, :3], points) + VIEWMATS[:, None, :3, 3]
    image = local @ KS[0].T
    pixels = image[..., :2] / image[..., 2:] * size
    y, x = np.mgrid[:size, :size] + 0.5
    near = np.hypot(x - pixels[..., 0, None, None], y - pixels[..., 1, None, None]) < reach
    return near.any(axis=1).astype(float)


POINTS = np.array([[0.0, 0.0, 0.0], [0.3, 0.1, -0.2], [-0.1, 0.4, 0.25]])


def test_right_data_pass() -> None:
    check_poses(VIEWMATS, SOURCE)
    check_silhouettes(discs(POINTS), VIEWMATS, KS, SOURCE)


def test_small_inaccuracies_pass() -> None:
    rng = np.random.default_rng(0)
    poses = VIEWMATS.copy()
    poses[:, :3] += rng.normal(scale=1e-4, size=(8, 3, 4))
    poses[:, :3, 3] += rng.normal(scale=0.01, size=(8, 3))
    check_poses(poses, SOURCE)
    check_silhouettes(discs(POINTS), poses, KS, SOURCE)


def test_an_object_that_leaves_some_pictures_passes() -> None:
    aside = np.linspace([0, 0, 0.8], [0, 0, 1.1], 30)
    check_silhouettes(discs(aside, reach=3), VIEWMATS, KS, SOURCE)


def test_an_edge_on_view_that_shows_nothing_empties_the_hull() -> None:
    alphas = discs(POINTS)
    alphas[3] = 0
    with pytest.raises(UsageError, match="silhouettes disagree"):
        check_silhouettes(alphas, VIEWMATS, KS, SOURCE)


def test_views_of_different_things_disagree() -> None:
    alphas = discs(POINTS)
    alphas[4:] = discs(-POINTS)[4:]
    with pytest.raises(UsageError, match=r"set/transforms\.json: silhouettes disagree with the poses \(\d+% of"):
        check_silhouettes(alphas, VIEWMATS, KS, SOURCE)


def test_masks_of_ones_are_no_silhouettes() -> None:
    alphas = discs(POINTS)
    alphas[0] = 1
    with pytest.raises(UsageError, match="opaque everywhere"):
        check_silhouettes(alphas, VIEWMATS, KS, SOURCE)


def test_masks_of_zeros_are_no_silhouettes() -> None:
    with pytest.raises(UsageError, match="every view is empty"):
        check_silhouettes(np.zeros((8, 16, 16)), VIEWMATS, KS, SOURCE)


def test_a_pose_that_is_not_finite_is_caught() -> None:
    poses = VIEWMATS.copy()
    poses[2, 0, 3] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        check_poses(poses, SOURCE)
