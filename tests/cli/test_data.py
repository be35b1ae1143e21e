"""``geotrap data``: from meshes to a checked data set, and what is told when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trimesh


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    for name, extents in (("box/a.stl", (1, 2, 3)), ("box/b.ply", (3, 1, 1)), ("bar/c.stl", (1, 1, 4))):
        (tmp_path / "meshes" / name).parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(extents).export(tmp_path / "meshes" / name)
    return tmp_path / "meshes"


def render(geotrap: Any, *extra: str) -> Any:
    return geotrap("data", "render", "meshes", "--out", "views", "--size", "24", "--workers", "1", *extra)


def test_meshes_become_a_data_set_that_checks(geotrap: Any, meshes: Path) -> None:
    dry = render(geotrap, "--dry-run", "--json")
    assert dry.code == 0 and not dry.document["written"] and not Path("views").exists()
    assert {one["state"] for one in dry.document["objects"]} == {"rendered"}
    first = render(geotrap, "--json")
    assert first.code == 0 and [one["id"] for one in first.document["objects"]] == ["bar/c", "box/a", "box/b"]
    again = render(geotrap)
    assert again.code == 0 and "rendered 0 objects to views, kept 3" in again.out
    check = geotrap("data", "check", "views", "--json", "--rows", "2")
    assert check.code == 0 and check.document["format"] == "blender" and check.document["at_fault"] == 0
    assert Path(check.document["sheet"]).is_file()


def test_a_fault_is_told_and_ends_with_2(geotrap: Any, meshes: Path) -> None:
    assert render(geotrap, "--quiet").code == 0
    Path("views/box/a/r_07.png").unlink()
    plain = geotrap("data", "check", "views", "--rows", "0")
    assert plain.code == 2 and "views/box/a/r_07.png: image not found" in plain.out
    assert "1 of 3 objects are at fault" in plain.err and not Path("data-check.png").exists()
    found = geotrap("data", "check", "views", "--rows", "0", "--json", "--quiet")
    assert found.code == 2 and found.document["at_fault"] == 1 and found.error["exit_code"] == 2


def test_a_broken_mesh_is_told_and_ends_with_2(geotrap: Any, meshes: Path) -> None:
    (meshes / "box" / "d.glb").write_bytes(b"broken")
    outcome = render(geotrap)
    assert outcome.code == 2
    assert "box/d: meshes/box/d.glb: cannot be read as a mesh" in outcome.out
    assert "1 of 4 meshes could not be rendered" in outcome.err
    assert json.loads(Path("views/objects.json").read_text())[0]["id"] == "bar/c"


def test_categories_can_be_named(geotrap: Any, meshes: Path) -> None:
    document = render(geotrap, "--json", "--category", "things", "--dry-run").document
    assert [one["id"] for one in document["objects"]] == ["things/bar_c", "things/box_a", "things/box_b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "absent"], "absent: no such folder"),
        (["check", "meshes"], "no built-in data set"),
        (["check", "meshes", "--format", "blonder"], "blonder"),
        (["check", "meshes", "--format", "blender", "--option", "cash=1"], "cash: Extra inputs"),
        (["check", "meshes", "--option", "cash"], "--option 'cash' has no key and value"),
        (["render", "absent", "--out", "views"], "absent: not found"),
        (["render", "meshes", "--out", "views", "--up", "x"], "--up 'x' is no axis"),
        (["render", "meshes"], "--out"),
    ],
)
def test_wrong_usage_is_one_line(geotrap: Any, meshes: Path, words: list[str], message: str) -> None:
    outcome = geotrap("data", *words)
    assert outcome.code == 2 and message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
