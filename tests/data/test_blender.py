"""The Blender reader: what it sees is what was rendered, and what is wrong is named."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from geotrap_cli.data.base import ObjectDataset, SurfaceDataset
from geotrap_cli.data.blender import BlenderConfig, BlenderDataset
from geotrap_cli.errors import UsageError

BALL_CENTERS = {(200, 40, 40): (0, 0, 0), (40, 200, 40): (0.6, 0.1, 0.2), (220, 200, 40): (0.05, -0.15, 0.75)}


def opened(balls: Any, **options: Any) -> BlenderDataset:
    return BlenderDataset(BlenderConfig(root=balls.root, **options))


def test_it_is_a_dataset_without_surfaces(balls: Any) -> None:
    dataset = opened(balls)
    assert isinstance(dataset, ObjectDataset)
    assert not isinstance(dataset, SurfaceDataset)
    assert all(field.description for field in BlenderDataset.Config.model_fields.values())


def test_records_know_category_group_and_views(balls: Any) -> None:
    found = [(r.id, r.group, r.category, r.views) for r in opened(balls).records]
    assert found == [("tool/c", "tool/c", "tool", 16), ("toy/a", "ab", "toy", 16), ("toy/b", "ab", "toy", 16)]


def test_without_an_index_every_object_is_its_own_group(balls: Any) -> None:
    (balls.root / "objects.json").unlink()
    assert [record.group for record in opened(balls).records] == ["tool/c", "toy/a", "toy/b"]


def test_projected_centres_land_on_the_balls_that_were_rendered(balls: Any) -> None:
    views = opened(balls).views("toy/a", range(16), 48)
    seen = 0
    for color, (x, y, z) in BALL_CENTERS.items():
        local = views.cameras.viewmats @ torch.tensor([x, z, -y, 1.0])
        image = (views.cameras.Ks @ local[:, :3, None]).squeeze(-1)
        pixels = (image[:, :2] / image[:, 2:]).floor().long()
        hits = views.rgba[torch.arange(16), pixels[:, 1], pixels[:, 0]]
        assert (hits[:, 3] == 1).all()
        seen += int((hits[:, :3] * 255 - torch.tensor(color)).abs().amax(dim=-1).lt(1).sum())
    # The other balls may stand in front, but not in most of the views.
    assert seen > 24


def test_views_come_in_the_order_asked_for(balls: Any) -> None:
    dataset = opened(balls)
    some = dataset.views("toy/a", [5, 2, 5], 24)
    assert some.rgba.shape == (3, 24, 24, 4) and some.rgba.dtype == torch.float32
    assert (some.cameras.width, some.cameras.height) == (24, 24)
    assert torch.equal(some.rgba[1], dataset.views("toy/a", [2], 24).rgba[0])
    assert torch.equal(some.rgba[0], some.rgba[2]) and not torch.equal(some.rgba[0], some.rgba[1])


def test_no_views_are_an_empty_stack_with_cameras_to_match(balls: Any) -> None:
    views = opened(balls).views("toy/a", [], 24)
    assert views.rgba.shape == (0, 24, 24, 4)
    assert views.cameras.viewmats.shape == (0, 4, 4)


def test_intrinsics_follow_the_file_and_the_size(balls: Any) -> None:
    Ks = opened(balls).views("toy/a", [0], 32).cameras.Ks
    focal = 16 / math.tan(math.radians(49.1) / 2)
    torch.testing.assert_close(Ks[0], torch.tensor([[focal, 0, 16], [0, focal, 16], [0, 0, 1]]))


def test_the_cache_changes_nothing(balls: Any) -> None:
    cached, plain = opened(balls), opened(balls, cache_mib=0)
    for _ in range(2):
        assert torch.equal(cached.views("toy/b", [0, 3], 20).rgba, plain.views("toy/b", [0, 3], 20).rgba)


def test_writing_to_a_result_does_not_spoil_the_next(balls: Any) -> None:
    dataset = opened(balls)
    first = dataset.views("toy/a", [0], 48).rgba
    kept = first.clone()
    first.zero_()
    assert torch.equal(dataset.views("toy/a", [0], 48).rgba, kept)


def test_rings_are_quarters_of_one_elevation(balls: Any) -> None:
    rings = opened(balls).rings("toy/a")
    wanted = [[base + (start + 2 * q) % 8 for q in range(4)] for base in (0, 8) for start in range(8)]
    assert sorted(rings) == sorted(wanted)


def test_the_fingerprint_is_of_content(balls: Any, tmp_path: Path) -> None:
    before = opened(balls).fingerprint()
    shutil.copytree(balls.root, tmp_path / "elsewhere")
    assert BlenderDataset(BlenderConfig(root=tmp_path / "elsewhere")).fingerprint() == before
    with Image.open(balls.image("toy/a", 3)) as image:
        pixels = np.array(image)
    pixels[0, 0] = 255
    Image.fromarray(pixels).save(balls.image("toy/a", 3))
    assert opened(balls).fingerprint() != before


@pytest.mark.parametrize("gone", [range(3, 4), range(16)])
def test_a_missing_image_is_named(balls: Any, gone: range) -> None:
    for index in gone:
        balls.image("toy/a", index).unlink()
    with pytest.raises(UsageError, match=rf"r_{gone[0]}\.png: image not found"):
        opened(balls)


def test_a_damaged_image_is_named_even_if_another_view_is_asked_for(balls: Any) -> None:
    path = balls.image("toy/a", 0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"r_0\.png: damaged image"):
        opened(balls).views("toy/a", [8], 32)


@pytest.mark.parametrize("length", [0, 100])
def test_a_cut_image_is_named_before_it_is_decoded(balls: Any, length: int) -> None:
    path = balls.image("tool/c", 5)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match=r"c/r_5\.png: damaged image"):
        opened(balls).fingerprint()


def test_preparing_checks_the_objects_named(balls: Any) -> None:
    path = balls.image("toy/b", 0)
    path.write_bytes(path.read_bytes()[:100])
    seen: list[tuple[int, int]] = []
    dataset = opened(balls)
    dataset.prepare(["toy/a", "tool/c"], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(UsageError, match=r"b/r_0\.png: damaged image"):
        dataset.prepare()


def test_too_few_views_name_their_file(balls: Any) -> None:
    balls.edit("toy/a", lambda table: table.update(frames=table["frames"][:3]))
    with pytest.raises(UsageError, match=r"a/transforms\.json: 3 views are too few"):
        opened(balls).prepare()


def edited_pose(balls: Any, change: Any) -> BlenderDataset:
    def edit(table: dict[str, Any]) -> None:
        for index, frame in enumerate(table["frames"]):
            frame["transform_matrix"] = change(index, np.array(frame["transform_matrix"])).tolist()

    balls.edit("toy/a", edit)
    return opened(balls)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, pose: pose * (0.8 if i == 4 else 1), "frame 4: transform_matrix holds no rotation"),
        (lambda _, pose: pose @ np.diag([1, 1, -1, 1]), "frame 0: transform_matrix holds no rotation"),
        (lambda _, pose: pose @ np.diag([1, -1, -1, 1]), "frame 0: the camera faces away from the origin"),
        (
            lambda _, pose: pose + 2 * np.eye(4)[:, [0, 0, 0, 0]] * [0, 0, 0, 1],
            "the camera does not look at the origin",
        ),
        (lambda _, pose: pose @ np.diag([-1, -1, 1, 1]), "every camera is upside down"),
        (lambda _, pose: np.diag([-1, 1, 1, 1]) @ pose @ np.diag([-1, 1, 1, 1]), "silhouettes disagree"),
        (lambda i, pose: scaled_position(pose, 3 if i == 2 else 1), "camera distances range from 3 to 9"),
    ],
    ids=["scaled", "mirrored", "opencv-axes", "off-centre", "rolled", "mirrored-world", "far"],
)
def test_wrong_poses_are_caught(balls: Any, change: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        edited_pose(balls, change).prepare()
    assert str(balls.table("toy/a")) in caught.value.message
    assert "\n" not in str(caught.value)


def scaled_position(pose: np.ndarray, factor: float) -> np.ndarray:
    return np.column_stack((pose[:, :3], pose[:, 3] * [factor, factor, factor, 1]))


def test_images_of_other_frames_are_caught(balls: Any) -> None:
    def reverse(table: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in table["frames"]]
        for frame, name in zip(table["frames"], names[::-1], strict=True):
            frame["file_path"] = name

    balls.edit("toy/a", reverse)
    with pytest.raises(UsageError, match="silhouettes disagree"):
        opened(balls).rings("toy/a")


def test_an_unknown_object_is_an_error(balls: Any) -> None:
    with pytest.raises(UsageError, match="no object 'toy/z'"):
        opened(balls).views("toy/z", [0], 32)


def test_a_root_without_objects_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        BlenderDataset(BlenderConfig(root=tmp_path / "absent"))
    with pytest.raises(UsageError, match="no objects"):
        BlenderDataset(BlenderConfig(root=tmp_path))


def test_an_object_folder_without_poses_is_an_error(balls: Any) -> None:
    balls.table("toy/b").unlink()
    with pytest.raises(UsageError, match=r"toy/b/transforms\.json: not found"):
        opened(balls)


def test_an_index_of_another_shape_is_an_error(balls: Any) -> None:
    (balls.root / "objects.json").write_text(json.dumps({"toy/a": {"group": "x"}}))
    with pytest.raises(UsageError, match=r"objects\.json: not an index"):
        opened(balls)


def test_options_are_strict() -> None:
    with pytest.raises(ValidationError):
        BlenderConfig(root=Path("x"), cash_mib=3)  # type: ignore[call-arg]


@pytest.mark.objects128
def test_real_objects_pass_every_check() -> None:
    root = os.environ.get("GEOTRAP_OBJECTS128")
    if not root:
        pytest.skip("GEOTRAP_OBJECTS128 names no folder")
    dataset = BlenderDataset(BlenderConfig(root=Path(root)))
    assert len(dataset.records) == 383
    for record in dataset.records[::12]:
        assert len(dataset.rings(record.id)) == 24
        views = dataset.views(record.id, range(record.views), 64)
        covered = views.rgba[..., 3].mean(dim=(1, 2))
        assert (covered > 0).all() and (covered < 0.6).all()
