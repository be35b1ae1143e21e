"""What a cell keeps of its Gaussians comes back, and shows what the cell rendered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.evaluate import ObjectRenders
from geotrap_cli.evaluation.kept_gaussians import KeptGaussians, kept_file, read_kept
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.render import render

SIDE = 16


def cloud(seed: int = 0, count: int = 40) -> torch.Tensor:
    raw = torch.randn(1, count, 14, generator=torch.Generator().manual_seed(seed))
    return activate(raw * torch.tensor([0.3] * 3 + [4.0] + [1.0] * 10)).activated[0]


def renders(gaussians: torch.Tensor, views: int = 2) -> ObjectRenders:
    cameras = Cameras(
        orbit_viewmats(-20.0, torch.tensor([0.0, 90.0])[:views]),
        intrinsics_from_fov(0.85, SIDE, SIDE).expand(views, 3, 3),
        SIDE,
        SIDE,
    )
    pictures = torch.linspace(0, 1, views * SIDE * SIDE * 3).reshape(views, SIDE, SIDE, 3)
    alpha = torch.ones(views, SIDE, SIDE)
    return ObjectRenders(pictures, alpha, pictures, gaussians, cameras)


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = KeptGaussians()
    for step in (40, 0, 5):
        kept.add("knife/a@b", step, renders(cloud(step)))
    kept.add("crate/1", 0, renders(cloud(1)))
    path = kept_file(tmp_path, "lora", "defended")
    kept.save(path)
    again = read_kept(path)
    assert path == tmp_path / "gaussians" / "lora-defended.safetensors"
    assert again is not None
    assert again.objects == ["crate/1", "knife/a@b"]
    assert again.steps("knife/a@b") == [0, 5, 40]
    assert again.steps("none") == []
    assert again.gaussians("crate/1", 5) is None
    found = again.gaussians("knife/a@b", 5)
    assert found is not None
    assert torch.equal(found, kept.gaussians("knife/a@b", 5) if found is not None else found)
    picture, cameras = again.picture("knife/a@b")
    assert (picture.dtype, picture.shape) == (torch.uint8, (SIDE, SIDE, 3))
    assert torch.equal(cameras.viewmats, orbit_viewmats(-20.0, 0.0)[None])
    assert (cameras.width, cameras.height) == (SIDE, SIDE)


def test_only_what_can_be_seen_is_kept_in_half_precision() -> None:
    gaussians = cloud()
    gaussians[:, 3] = torch.linspace(0, 1, len(gaussians))
    kept = KeptGaussians()
    kept.add("a", 0, renders(gaussians))
    stored = kept.tensors["a@0"]
    visible = gaussians[gaussians[:, 3] >= 1 / 255]
    assert 0 < len(visible) < len(gaussians)
    assert stored.dtype == torch.float16
    torch.testing.assert_close(stored.float(), visible, atol=0, rtol=2**-11)


def test_what_half_precision_cannot_hold_is_kept_in_full() -> None:
    gaussians = cloud()
    gaussians[3, 0], gaussians[3, 3] = 1e5, 0.5
    kept = KeptGaussians()
    kept.add("a", 0, renders(gaussians))
    assert kept.tensors["a@0"].dtype == torch.float32
    assert float(kept.tensors["a@0"].max()) == 1e5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_they_show_what_was_rendered(seed: int) -> None:
    one = renders(cloud(seed))
    kept = KeptGaussians()
    kept.add("a", 0, one)
    found = kept.gaussians("a", 0)
    assert found is not None
    both = [render(GaussianBatch(each[None]), _batched(one.cameras)).rgb for each in (one.gaussians, found)]
    # Half precision moves an edge by a fraction of a pixel.
    assert float((both[0] - both[1]).abs().mean()) < 2e-3


def _batched(cameras: Cameras) -> Cameras:
    return Cameras(cameras.viewmats[None], cameras.Ks[None], cameras.width, cameras.height)


def test_a_run_that_kept_none_has_none(tmp_path: Path) -> None:
    assert read_kept(kept_file(tmp_path, "lora", "defended")) is None


@pytest.mark.parametrize("harm", ["camera", "nan", "shape"])
def test_a_damaged_file_is_named(tmp_path: Path, harm: str) -> None:
    kept = KeptGaussians()
    kept.add("a", 0, renders(cloud()))
    if harm == "camera":
        del kept.tensors["a@viewmat"]
    elif harm == "nan":
        kept.tensors["a@0"][0, 0] = float("nan")
    else:
        kept.tensors["a@0"] = kept.tensors["a@0"][:, :13].contiguous()
    kept.save(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"a\.safetensors is damaged: a has no"):
        read_kept(tmp_path / "a.safetensors")
