"""Reading pose files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.cameras import blender_to_viewmats
from geotrap_cli.data.transforms import read_transforms
from geotrap_cli.errors import UsageError

POSE = [[1.0, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]]


def written(folder: Path, table: dict[str, Any], frames: list[dict[str, Any]] | None = None) -> Path:
    path = folder / "transforms.json"
    default = [{"file_path": "r_0", "transform_matrix": POSE}]
    path.write_text(json.dumps({**table, "frames": default if frames is None else frames}))
    return path


def test_poses_become_viewmats(tmp_path: Path) -> None:
    table = read_transforms(written(tmp_path, {"camera_angle_x": 1.0}))
    torch.testing.assert_close(table.viewmats[0], blender_to_viewmats(torch.tensor(POSE).double()), rtol=0, atol=0)


def test_three_rows_are_a_pose(tmp_path: Path) -> None:
    frames = [{"file_path": "r_0", "transform_matrix": POSE[:3]}]
    table = read_transforms(written(tmp_path, {"camera_angle_x": 1.0}, frames))
    torch.testing.assert_close(table.viewmats[0], blender_to_viewmats(torch.tensor(POSE).double()))


@pytest.mark.parametrize("name", ["r_0", "r_0.png", "./r_0", "img/r_0.png", "v1.5", "r_0.PNG"])
def test_the_extension_may_be_left_out(tmp_path: Path, name: str) -> None:
    frames = [{"file_path": name, "transform_matrix": POSE}]
    (image,) = read_transforms(written(tmp_path, {"camera_angle_x": 1.0}, frames)).images
    assert image == tmp_path / (name if name.lower().endswith(".png") else f"{name}.png")


def test_focal_lengths_take_precedence_over_the_angle(tmp_path: Path) -> None:
    stated = {"camera_angle_x": 1.0, "fl_x": 100, "fl_y": 110, "cx": 60, "cy": 45, "w": 100, "h": 100}
    (K,) = read_transforms(written(tmp_path, stated)).Ks
    torch.testing.assert_close(K, torch.tensor([[1.0, 0, 0.6], [0, 1.1, 0.45], [0, 0, 1]]))


def test_the_axis_defaults_to_the_centre_and_pixels_to_squares(tmp_path: Path) -> None:
    (K,) = read_transforms(written(tmp_path, {"fl_x": 100, "w": 200, "h": 200})).Ks
    torch.testing.assert_close(K, torch.tensor([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]]))


def test_a_frame_may_have_intrinsics_of_its_own(tmp_path: Path) -> None:
    frames = [
        {"file_path": "a", "transform_matrix": POSE},
        {"file_path": "b", "transform_matrix": POSE, "fl_x": 300},
    ]
    Ks = read_transforms(written(tmp_path, {"fl_x": 100, "w": 100, "h": 100}, frames)).Ks
    assert Ks[:, 0, 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "no intrinsics"),
        ({"fl_x": 100}, "fl_x without w and h"),
        ({"camera_angle_x": -1}, "camera_angle_x: Input should be greater than 0"),
        ({"camera_angle_x": 49.1}, "camera_angle_x: Input should be less than"),
        ({"camera_angle_x": "wide"}, "camera_angle_x"),
    ],
)
def test_wrong_intrinsics_are_named(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    path = written(tmp_path, table)
    with pytest.raises(UsageError, match=message) as caught:
        read_transforms(path)
    assert caught.value.message.startswith(str(path))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "frames"),
        ([{"transform_matrix": POSE}], "frames.0.file_path"),
        ([{"file_path": "a"}], "frames.0.transform_matrix"),
        ([{"file_path": "a", "transform_matrix": [[1.0, 0], [0, 1]]}], "3 or 4 rows of 4 numbers"),
        ([{"file_path": "a", "transform_matrix": [[float("nan")] * 4] * 4}], "finite number"),
    ],
)
def test_wrong_frames_are_named(tmp_path: Path, frames: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_transforms(written(tmp_path, {"camera_angle_x": 1.0}, frames))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"camera_angle_x": 1.0}'])
def test_files_that_are_no_pose_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(UsageError, match=r"transforms\.json"):
        read_transforms(tmp_path / "transforms.json")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_transforms(tmp_path / "transforms.json")
