"""PLY files: what a viewer reads, and what comes back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.ply import load_ply, save_ply

VIEWER_PROPERTIES = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"


def cloud(count: int = 20, seed: int = 0) -> GaussianBatch:
    return activate(torch.randn(1, count, 14, generator=torch.Generator().manual_seed(seed)))


def test_viewers_find_the_properties_they_look_for(tmp_path: Path) -> None:
    save_ply(tmp_path / "a.ply", cloud())
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    assert [item.name for item in vertex.properties] == VIEWER_PROPERTIES.split()
    assert {item.val_dtype for item in vertex.properties} == {"f4"}
    assert (tmp_path / "a.ply").read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")


def test_stored_values_of_one_gaussian_by_hand(tmp_path: Path) -> None:
    values = [0.1, -0.2, 0.3, 0.75, 0.01, 0.02, 0.5, 0.6, 0.0, 0.8, 0.0, 1.0, 0.5, 0.0]
    save_ply(tmp_path / "a.ply", GaussianBatch(torch.tensor([[values]])))
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"].data[0]
    assert vertex["opacity"] == pytest.approx(math.log(3), rel=1e-6)
    assert vertex["scale_0"] == pytest.approx(math.log(0.01), rel=1e-5)
    assert [vertex[f"rot_{i}"] for i in range(4)] == pytest.approx([0.6, 0, 0.8, 0])
    half = 0.5 / (0.5 / math.sqrt(math.pi))
    assert [vertex[f"f_dc_{i}"] for i in range(3)] == pytest.approx([half, 0, -half])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    gaussians = cloud(count, seed)
    save_ply(path, gaussians)
    loaded = load_ply(path)
    assert loaded.raw is None
    torch.testing.assert_close(loaded.activated, gaussians.activated, atol=2e-6, rtol=1e-5)


def test_collapsed_models_stay_finite_and_come_back(tmp_path: Path) -> None:
    values = torch.zeros(1, 6, 14)
    values[..., 7] = 1.0
    values[0, 3:, 3] = 1.0
    save_ply(tmp_path / "a.ply", GaussianBatch(values))
    vertices = PlyData.read(str(tmp_path / "a.ply"))["vertex"].data
    assert all(np.isfinite(vertices[name]).all() for name in VIEWER_PROPERTIES.split())
    torch.testing.assert_close(load_ply(tmp_path / "a.ply").activated, values, atol=2e-6, rtol=0)


def test_nothing_is_pruned_unless_asked(tmp_path: Path) -> None:
    gaussians = cloud(200)
    save_ply(tmp_path / "all.ply", gaussians)
    save_ply(tmp_path / "some.ply", gaussians, min_opacity=0.5)
    assert load_ply(tmp_path / "all.ply").num_gaussians == 200
    kept = load_ply(tmp_path / "some.ply")
    wanted = gaussians.means[0, gaussians.opacities[0] >= 0.5]
    torch.testing.assert_close(kept.means[0], wanted)
    assert 0 < kept.num_gaussians < 200


def test_a_threshold_above_all_leaves_an_empty_file(tmp_path: Path) -> None:
    save_ply(tmp_path / "a.ply", cloud(), min_opacity=1.1)
    assert load_ply(tmp_path / "a.ply").activated.shape == (1, 0, 14)


@pytest.mark.parametrize("objects", [0, 2])
def test_a_file_holds_one_object(tmp_path: Path, objects: int) -> None:
    with pytest.raises(ValueError, match="one object"):
        save_ply(tmp_path / "a.ply", GaussianBatch(torch.zeros(objects, 3, 14)))


def test_nan_is_not_written(tmp_path: Path) -> None:
    values = torch.zeros(1, 3, 14)
    values[0, 1, 5] = math.nan
    with pytest.raises(GeotrapError, match="not finite"):
        save_ply(tmp_path / "a.ply", GaussianBatch(values))
    assert list(tmp_path.iterdir()) == []


def test_gradients_and_half_precision_do_not_hinder(tmp_path: Path) -> None:
    gaussians = activate(torch.zeros(1, 2, 14, requires_grad=True))
    save_ply(tmp_path / "a.ply", gaussians.to(torch.bfloat16))
    assert load_ply(tmp_path / "a.ply").activated.dtype == torch.float32


def test_files_of_other_programs_with_harmonics_are_read(tmp_path: Path) -> None:
    names = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(9)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    vertices = np.zeros(2, dtype=[(name, "f4") for name in names])
    vertices["rot_0"] = 2.0
    PlyData([PlyElement.describe(vertices, "vertex")], text=True).write(str(tmp_path / "a.ply"))
    loaded = load_ply(tmp_path / "a.ply")
    assert loaded.opacities.tolist() == [[0.5, 0.5]]
    assert loaded.quats[0, 0].tolist() == [1, 0, 0, 0]
    assert loaded.scales[0, 0].tolist() == [1, 1, 1]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.ply: no such file"):
        load_ply(tmp_path / "absent.ply")
    (tmp_path / "text.ply").write_text("not a ply")
    with pytest.raises(UsageError, match=r"text\.ply: not a PLY"):
        load_ply(tmp_path / "text.ply")
    save_ply(tmp_path / "a.ply", cloud())
    (tmp_path / "cut.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"cut\.ply: not a PLY"):
        load_ply(tmp_path / "cut.ply")
    points = np.zeros(1, dtype=[("x", "f4"), ("y", "f4"), ("z", "f4")])
    PlyData([PlyElement.describe(points, "vertex")]).write(str(tmp_path / "points.ply"))
    with pytest.raises(UsageError, match=r"points\.ply: no property f_dc_0"):
        load_ply(tmp_path / "points.ply")
