"""From a mesh to views to the reader, and back to the mesh: the whole round trip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from geotrap_cli.data.blender import BlenderConfig, BlenderDataset
from geotrap_cli.data.mesh_files import MeshFile, find_meshes
from geotrap_cli.data.mesh_views import MeshViews, Outcome

PARTS = (
    ((0.0, 0.0, 0.0), (200, 40, 40)),
    ((0.9, 0.2, 0.3), (40, 200, 40)),
    ((-0.2, 0.8, -0.5), (40, 40, 200)),
    ((0.1, -0.3, 1.1), (220, 200, 40)),
)


def write_balls(path: Path, offset: float = 0.0) -> None:
    """Four coloured balls without symmetry, z up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    balls = []
    for center, colour in PARTS:
        ball = trimesh.creation.icosphere(subdivisions=2, radius=0.25)
        ball.apply_translation(np.array(center) + offset)
        ball.visual.vertex_colors = (*colour, 255)
        balls.append(ball)
    trimesh.util.concatenate(balls).export(path)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    write_balls(tmp_path / "meshes" / "toy" / "a.ply")
    write_balls(tmp_path / "meshes" / "tool" / "b.ply")
    return tmp_path / "meshes"


def rendered(views: MeshViews, meshes: Path, workers: int = 1) -> dict[str, Outcome]:
    return {outcome.mesh.id: outcome for outcome in views.render(find_meshes([meshes]), workers)}


def states(views: MeshViews, meshes: Path) -> dict[str, str]:
    return {id: outcome.state for id, outcome in rendered(views, meshes).items()}


def test_the_reader_finds_each_part_where_it_was_modelled(meshes: Path, tmp_path: Path) -> None:
    rendered(MeshViews(tmp_path / "out", size=64), meshes)
    dataset = BlenderDataset(BlenderConfig(root=tmp_path / "out"))
    dataset.prepare()
    assert [(r.id, r.category, r.group, r.views) for r in dataset.records] == [
        ("tool/b", "tool", "tool/b", 24),
        ("toy/a", "toy", "toy/a", 24),
    ]
    assert len(dataset.rings("toy/a")) == 24
    seen = dataset.views("toy/a", range(24), 64)
    corners = np.array([center for center, _ in PARTS])
    middle = ((corners - 0.25).min(axis=0) + (corners + 0.25).max(axis=0)) / 2
    scale = 0.55 / (np.linalg.norm(corners - middle, axis=1) + 0.25).max()
    own = 0
    for center, colour in PARTS:
        x, y, z = (np.array(center) - middle) * scale
        local = seen.cameras.viewmats @ torch.tensor([x, z, -y, 1.0], dtype=torch.float32)
        image = (seen.cameras.Ks @ local[:, :3, None]).squeeze(-1)
        columns, rows = (image[:, :2] / image[:, 2:]).floor().long().unbind(-1)
        pixels = seen.rgba[torch.arange(24), rows, columns]
        assert (pixels[:, 3] == 1).all()
        # Light scales a colour and keeps its direction.
        direction = torch.nn.functional.normalize(torch.tensor(colour).float(), dim=0)
        own += int((torch.nn.functional.normalize(pixels[:, :3], dim=1) @ direction > 0.99).sum())
    assert own > 70


def test_finished_objects_are_kept_until_their_mesh_changes(meshes: Path, tmp_path: Path) -> None:
    views = MeshViews(tmp_path / "out", size=16)
    assert states(views, meshes) == {"tool/b": "rendered", "toy/a": "rendered"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert states(views, meshes) == {"tool/b": "kept", "toy/a": "kept"}
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    mesh = trimesh.load(meshes / "toy" / "a.ply")
    mesh.visual.vertex_colors = (9, 9, 9, 255)
    mesh.export(meshes / "toy" / "a.ply")
    assert states(views, meshes) == {"tool/b": "kept", "toy/a": "rendered"}
    assert states(MeshViews(tmp_path / "out", size=20), meshes) == {"tool/b": "rendered", "toy/a": "rendered"}
    assert states(MeshViews(tmp_path / "out", size=20, up="y"), meshes) == {"tool/b": "rendered", "toy/a": "rendered"}


def test_an_interrupted_object_is_not_there(meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = MeshViews(tmp_path / "out", size=16)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MeshViews, "_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rendered(views, meshes)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert set(states(views, meshes).values()) == {"rendered"}


def test_a_broken_mesh_ends_no_other(meshes: Path, tmp_path: Path) -> None:
    (meshes / "toy" / "c.glb").write_bytes(b"broken")
    found = rendered(MeshViews(tmp_path / "out", size=16), meshes)
    assert {id: outcome.state for id, outcome in found.items()} == {
        "tool/b": "rendered",
        "toy/a": "rendered",
        "toy/c": "failed",
    }
    assert "c.glb: cannot be read as a mesh" in found["toy/c"].problem
    assert [entry["id"] for entry in json.loads((tmp_path / "out" / "objects.json").read_text())] == ["tool/b", "toy/a"]


def test_groups_that_a_user_wrote_stay(meshes: Path, tmp_path: Path) -> None:
    views, index = MeshViews(tmp_path / "out", size=16), tmp_path / "out" / "objects.json"
    rendered(views, meshes)
    entries = json.loads(index.read_text())
    for entry in entries:
        entry["group"] = "variants"
    index.write_text(json.dumps([*entries, {"id": "other/kept", "group": "x"}]))
    rendered(views, meshes)
    assert [(e["id"], e["group"]) for e in json.loads(index.read_text())] == [
        ("other/kept", "x"),
        ("tool/b", "variants"),
        ("toy/a", "variants"),
    ]


def test_no_path_of_the_machine_is_written(meshes: Path, tmp_path: Path) -> None:
    rendered(MeshViews(tmp_path / "out", size=16), meshes)
    for path in (tmp_path / "out").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()


def test_pictures_do_not_depend_on_the_number_of_processes(meshes: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        rendered(MeshViews(tmp_path / str(workers), size=16), meshes, workers)
    names = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert len(names) == 2 * 25 + 1
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in names)


def test_what_is_no_longer_readable_is_not_up_to_date(meshes: Path, tmp_path: Path) -> None:
    views = MeshViews(tmp_path / "out", size=16)
    mesh = MeshFile(meshes / "toy" / "a.ply", "toy", "a")
    assert not views.is_up_to_date(mesh)
    views.make(mesh)
    assert views.is_up_to_date(mesh)
    (tmp_path / "out" / "toy" / "a" / "transforms.json").write_text("{")
    assert not views.is_up_to_date(mesh)
