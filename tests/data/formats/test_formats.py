"""Readers of public data sets: with the poses and intrinsics they report, points project where they were rendered."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.files import open_folder
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.omniobject3d import alpha_from_black
from geotrap_cli.errors import UsageError

RECORDS = {
    "omniobject3d_24": [("axe/axe_001", "axe", 24), ("toy_car/toy_car_002", "toy_car", 24)],
    "omniobject3d_100": [("axe/axe_001", "axe", 12), ("toy_car/toy_car_002", "toy_car", 12)],
    "google_scanned": [("ACE_Coffee_Mug", "unsorted", 8), ("Dino_3", "unsorted", 8)],
    "zero123": [("0a1b", "unsorted", 12), ("9f8e", "unsorted", 12)],
    "gobjaverse": [("0/10005", "unsorted", 12), ("12/60001", "unsorted", 12)],
    "nerf_synthetic": [("lego", "lego", 20), ("ship", "ship", 20)],
}
FOVS_DEG = {
    "omniobject3d_24": 49.1343,
    "omniobject3d_100": 39.5978,
    "google_scanned": math.degrees(0.8),
    "zero123": 49.1343,
    "gobjaverse": 39.5978,
    "nerf_synthetic": 39.5978,
}
OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
CENTERS = ((0.0, 0.0, 0.0), (0.6, 0.1, 0.2), (-0.1, 0.5, -0.35), (0.05, -0.15, 0.75))
KINDS = sorted(RECORDS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def written(formats: Any, kind: str, root: Path, **options: Any) -> ObjectDataset:
    formats.write(kind, root)
    return open_dataset(kind, {"root": root, **options})


def share_of_hits(dataset: ObjectDataset, id: str, views: int, size: int = 40) -> float:
    """Share of ball centres that project onto an opaque pixel, over all views."""
    seen = dataset.views(id, range(views), size)
    hits = []
    for x, y, z in CENTERS:
        local = seen.cameras.viewmats @ torch.tensor([x, z, -y, 1.0])
        image = (seen.cameras.Ks @ local[:, :3, None]).squeeze(-1)
        columns, rows = (image[:, :2] / image[:, 2:]).floor().long().unbind(-1)
        hits.append(seen.rgba[torch.arange(views), rows, columns, 3] == 1)
    return float(torch.stack(hits).float().mean())


@pytest.mark.parametrize("kind", KINDS)
def test_records_and_projections(formats: Any, kind: str, root: Path) -> None:
    dataset = written(formats, kind, root)
    assert [(r.id, r.category, r.views) for r in dataset.records] == RECORDS[kind]
    assert all(record.group == record.id for record in dataset.records)
    for record in dataset.records:
        assert share_of_hits(dataset, record.id, record.views) == 1.0
        assert all(len(set(ring)) == 4 for ring in dataset.rings(record.id))
    focal = dataset.views(dataset.records[0].id, [0], 40).cameras.Ks[0, 0, 0]
    assert float(focal) == pytest.approx(20 / math.tan(math.radians(FOVS_DEG[kind]) / 2), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tar_of_the_set_is_the_set(formats: Any, kind: str, root: Path, tmp_path: Path) -> None:
    dataset = written(formats, kind, root)
    archived = open_dataset(kind, {"root": formats.pack(root, tmp_path / "set.tar")})
    assert archived.records == dataset.records
    assert archived.fingerprint() == dataset.fingerprint()
    id = dataset.records[0].id
    assert torch.equal(archived.views(id, [1, 0], 20).rgba, dataset.views(id, [1, 0], 20).rgba)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("set", "set.tar")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_image_and_a_damaged_one_are_named(formats: Any, kind: str, root: Path) -> None:
    dataset = written(formats, kind, root)
    path = dataset.transforms(dataset.records[0].id).images[1]  # type: ignore[attr-defined]
    content = path.read_bytes()
    path.write_bytes(content[:60])
    with pytest.raises(UsageError, match=f"{path.name}: damaged image"):
        open_dataset(kind, {"root": root}).views(dataset.records[0].id, [1], 40)
    path.unlink()
    with pytest.raises(UsageError, match=f"{path.stem}.*(image not found|pose|not found)"):
        open_dataset(kind, {"root": root})


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_root_tells_the_layout(formats: Any, kind: str, root: Path) -> None:
    with pytest.raises(UsageError, match="no objects") as caught:
        open_dataset(kind, {"root": root})
    assert caught.value.hint and caught.value.hint.startswith("Expected <root>/")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_without_its_poses_is_an_error(formats: Any, kind: str, root: Path) -> None:
    formats.write(kind, root)
    marker = {"omniobject3d_100": "transforms.json", "nerf_synthetic": "transforms_train.json", "zero123": "000.npy"}
    for path in sorted(root.rglob(marker.get(kind, "transforms.json")))[:1]:
        path.unlink()
    if kind == "gobjaverse":
        next(iter(sorted(root.rglob("*.json")))).unlink()
    with pytest.raises(UsageError, match=r"not found|cannot be read|without a pose"):
        open_dataset(kind, {"root": root})


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_follows_poses_and_images(formats: Any, kind: str, root: Path) -> None:
    before = written(formats, kind, root)
    table = before.transforms(before.records[0].id)  # type: ignore[attr-defined]
    print_ = before.fingerprint()
    content = table.images[0].read_bytes()
    table.images[0].write_bytes(content[:45] + bytes([content[45] ^ 1]) + content[46:])
    changed = {
        way: open_dataset(kind, {"root": root, "fingerprint": way}).fingerprint() for way in ("content", "listing")
    }
    table.images[0].write_bytes(content)
    kept = {way: open_dataset(kind, {"root": root, "fingerprint": way}).fingerprint() for way in ("content", "listing")}
    assert changed["content"] != kept["content"] and changed["listing"] == kept["listing"]
    assert print_ in kept.values()
    table.images[0].write_bytes(content + b" ")
    assert open_dataset(kind, {"root": root, "fingerprint": "listing"}).fingerprint() != kept["listing"]


@pytest.mark.parametrize("wrong", ["opencv", "transposed", "mirrored"])
@pytest.mark.parametrize("kind", ["google_scanned", "nerf_synthetic", "omniobject3d_24"])
def test_poses_of_another_convention_are_caught(formats: Any, kind: str, wrong: str, root: Path) -> None:
    formats.write(kind, root)
    change = {
        "opencv": lambda pose: pose @ OPENCV,
        "transposed": lambda pose: np.block([[pose[:3, :3].T, pose[:3, 3:]], [np.zeros(3), np.ones(1)]]),
        "mirrored": lambda pose: np.diag([-1, 1, 1, 1]) @ pose,
    }[wrong]
    for path in root.rglob("transforms*.json"):
        table = json.loads(path.read_text())
        for frame in table["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()
        path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match=r"does not look at|faces away|no rotation|disagree"):
        open_dataset(kind, {"root": root}).prepare()  # type: ignore[attr-defined]


# ---- what is particular to one set


def test_omniobject3d_leaves_out_only_a_first_frame_that_was_not_placed(formats: Any, root: Path) -> None:
    dataset = written(formats, "omniobject3d_100", root)
    assert dataset.transforms("axe/axe_001").frames == tuple(range(1, 13))  # type: ignore[attr-defined]
    path = root / "axe" / "axe_001" / "render" / "transforms.json"
    table = json.loads(path.read_text())
    table["frames"][5]["transform_matrix"] = table["frames"][0]["transform_matrix"]
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match="frame 5: the camera does not look at the origin"):
        open_dataset("omniobject3d_100", {"root": root})


@pytest.mark.parametrize("kind", ["omniobject3d_24", "omniobject3d_100"])
def test_omniobject3d_in_every_published_arrangement(formats: Any, kind: str, root: Path, tmp_path: Path) -> None:
    plain = written(formats, kind, root)
    where = root / "img" if kind == "omniobject3d_24" else root
    flat = tmp_path / "flat"
    shards = tmp_path / "shards"
    shards.mkdir()
    for id in [record.id for record in plain.records]:
        category, name = id.split("/")
        source = where / name if kind == "omniobject3d_24" else where / category / name
        shutil.copytree(source, flat / name)
        shutil.copytree(source, tmp_path / "tmp" / category / name)
        formats.pack(tmp_path / "tmp" / category, shards / f"{category}.tar")
    for other in (flat, shards):
        dataset = open_dataset(kind, {"root": other})
        assert dataset.records == plain.records
        assert torch.equal(dataset.views("axe/axe_001", [3], 20).rgba, plain.views("axe/axe_001", [3], 20).rgba)


def as_rgb(path: Path) -> None:
    with Image.open(path) as image:
        black = Image.new("RGBA", image.size, "black")
        black.alpha_composite(image.convert("RGBA"))
    black.convert("RGB").save(path)


def test_omniobject3d_without_alpha_is_as_it_was_told(formats: Any, root: Path) -> None:
    known = written(formats, "omniobject3d_100", root).views("axe/axe_001", range(4), 40).rgba
    for path in (root / "axe").rglob("*.png"):
        as_rgb(path)
    with pytest.raises(UsageError, match="RGB image without alpha"):
        open_dataset("omniobject3d_100", {"root": root}).rings("axe/axe_001")
    left = open_dataset("omniobject3d_100", {"root": root, "without_alpha": "leave_out"})
    assert [record.id for record in left.records] == ["toy_car/toy_car_002"]
    black = open_dataset("omniobject3d_100", {"root": root, "without_alpha": "black"})
    assert torch.equal(black.views("axe/axe_001", range(4), 40).rgba, known)


def test_black_inside_an_object_stays_opaque() -> None:
    colours = np.zeros((9, 9, 3), np.uint8)
    colours[2:7, 2:7] = 200
    colours[4, 4] = 0
    wanted = np.zeros((9, 9), np.uint8)
    wanted[2:7, 2:7] = 255
    np.testing.assert_array_equal(alpha_from_black(colours), wanted)
    np.testing.assert_array_equal(alpha_from_black(np.full((3, 3, 3), 9, np.uint8)), np.full((3, 3), 255))


def test_google_scanned_reads_the_intrinsics_of_each_frame(formats: Any, root: Path) -> None:
    focals = written(formats, "google_scanned", root).views("Dino_3", range(8), 40).cameras.Ks[:, 0, 0]
    wanted = [20 / math.tan(0.5 * (0.8 + 0.01 * index)) for index in range(8)]
    torch.testing.assert_close(focals, torch.tensor(wanted))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[40, 1, 20], [0, 40, 20], [0, 0, 1]], "without skew"),
        ([[-40, 0, 20], [0, 40, 20], [0, 0, 1]], "positive focal lengths"),
        ([[40, 0], [0, 40]], "3 rows of 3"),
    ],
)
def test_intrinsics_that_are_none_are_named(formats: Any, root: Path, matrix: Any, message: str) -> None:
    formats.google_scanned(root)
    path = root / "Dino_3" / "transforms.json"
    table = json.loads(path.read_text())
    table["frames"][2]["intrinsic_matrix"] = matrix
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match=rf"Dino_3/transforms\.json: frames\.2\.intrinsic_matrix: .*{message}"):
        open_dataset("google_scanned", {"root": root})


def test_a_lens_with_distortion_is_refused(formats: Any, root: Path) -> None:
    formats.google_scanned(root)
    path = root / "Dino_3" / "transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "k1": 0.1}))
    with pytest.raises(UsageError, match="a lens with distortion"):
        open_dataset("google_scanned", {"root": root})


def test_zero123_unpickles_nothing(formats: Any, root: Path) -> None:
    formats.zero123(root)
    np.save(root / "0a1b" / "003.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"003\.npy: no pose \(Object arrays cannot be loaded"):
        open_dataset("zero123", {"root": root})
    (root / "0a1b" / "003.npy").write_bytes(pickle.dumps(np.eye(4)[:3]))
    with pytest.raises(UsageError, match=r"003\.npy: no pose"):
        open_dataset("zero123", {"root": root})
    np.save(root / "0a1b" / "003.npy", np.eye(4))
    with pytest.raises(UsageError, match=r"3 x 4 numbers, got \(4, 4\)"):
        open_dataset("zero123", {"root": root})


def test_zero123_takes_the_complete_objects_and_an_inner_folder(formats: Any, root: Path) -> None:
    formats.zero123(root, inner="render_mvs_25/model")
    options = {"root": root, "inner": "render_mvs_25/model"}
    assert share_of_hits(open_dataset("zero123", options), "0a1b", 12) == 1.0
    (root / "valid_paths.json").write_text('["9f8e", "not-here"]')
    assert [record.id for record in open_dataset("zero123", options).records] == ["9f8e"]
    (root / "valid_paths.json").write_text("{")
    with pytest.raises(UsageError, match=r"valid_paths\.json: not a list"):
        open_dataset("zero123", options)


def test_zero123_shards_may_hold_each_object_once(formats: Any, root: Path, tmp_path: Path) -> None:
    formats.zero123(tmp_path / "shard_0", names=("0a1b",))
    formats.zero123(tmp_path / "shard_1", names=("9f8e",))
    for name in ("shard_0", "shard_1"):
        formats.pack(tmp_path / name, root / f"{name}.tar")
    assert [record.id for record in open_dataset("zero123", {"root": root}).records] == ["0a1b", "9f8e"]
    shutil.copytree(tmp_path / "shard_0", root / "copies")
    with pytest.raises(UsageError, match="object '0a1b' is there twice"):
        open_dataset("zero123", {"root": root})


def test_gobjaverse_leaves_out_repeated_poses_and_takes_the_angle_stated(formats: Any, root: Path) -> None:
    dataset = written(formats, "gobjaverse", root)
    assert dataset.transforms("0/10005").frames == (*range(8), *range(9, 13))  # type: ignore[attr-defined]
    formats.gobjaverse(root / "more", fov=True)
    assert share_of_hits(open_dataset("gobjaverse", {"root": root / "more"}), "0/10005", 12) == 1.0
    path = root / "0" / "10005" / "campos_512_v4" / "00003" / "00003.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "x_fov": 39.6}))
    with pytest.raises(UsageError, match=r"00003\.json: x_fov: Input should be less than"):
        open_dataset("gobjaverse", {"root": root})


def test_gobjaverse_objects_may_be_tars(formats: Any, root: Path, tmp_path: Path) -> None:
    plain = written(formats, "gobjaverse", tmp_path / "plain")
    for record in plain.records:
        (root / record.id).parent.mkdir(exist_ok=True)
        formats.pack(tmp_path / "plain" / record.id, root / f"{record.id}.tar")
    tars = open_dataset("gobjaverse", {"root": root})
    assert tars.records == plain.records
    assert torch.equal(tars.views("0/10005", [9], 40).rgba, plain.views("0/10005", [9], 40).rgba)


def test_nerf_synthetic_parts_can_be_chosen(formats: Any, root: Path) -> None:
    dataset = written(formats, "nerf_synthetic", root, parts=["val", "test"])
    assert [record.views for record in dataset.records] == [12, 12]
    assert share_of_hits(dataset, "ship", 12) == 1.0


# ---- categories


@pytest.mark.parametrize(
    "content",
    [{"mug": ["0a1b"], "axe": ["absent"]}, {"0a1b": "mug"}, [{"id": "0a1b", "category": "mug"}]],
    ids=["by category", "by object", "list"],
)
def test_categories_come_from_a_file_that_also_chooses(formats: Any, root: Path, content: Any) -> None:
    formats.zero123(root)
    (root / "categories.json").write_text(json.dumps(content))
    dataset = open_dataset("zero123", {"root": root, "categories": root / "categories.json"})
    assert [(record.id, record.category) for record in dataset.records] == [("0a1b", "mug")]
    assert dataset.fingerprint() != open_dataset("zero123", {"root": root}).fingerprint()


def test_categories_and_groups_come_from_the_index(formats: Any, root: Path) -> None:
    formats.zero123(root)
    index = [{"id": "0a1b", "category": "mug", "group": "g"}, {"id": "9f8e", "category": "axe", "group": "g"}]
    (root / "objects.json").write_text(json.dumps(index))
    records = open_dataset("zero123", {"root": root}).records
    assert [(record.category, record.group) for record in records] == [("mug", "g"), ("axe", "g")]


@pytest.mark.parametrize("content", ["[", "[1]", '{"a": 3}', '{"mug": ["x"], "axe": ["x"]}'])
def test_a_file_of_categories_that_is_none_is_named(formats: Any, root: Path, content: str) -> None:
    formats.zero123(root)
    (root / "c.json").write_text(content)
    with pytest.raises(UsageError, match=r"c\.json"):
        open_dataset("zero123", {"root": root, "categories": root / "c.json"})


def test_files_named_outside_the_root_are_refused(formats: Any, root: Path) -> None:
    formats.nerf_synthetic(root)
    path = root / "lego" / "transforms_train.json"
    table = json.loads(path.read_text())
    formats.save(root.parent / "elsewhere.png", formats.orbit(8)[0], 0.6911112)
    table["frames"][0]["file_path"] = "../../elsewhere"
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match="lies outside the data set"):
        open_dataset("nerf_synthetic", {"root": root})
    assert open_folder(root) == root
