"""Checking a whole data set: every fault is found and named, and the sheet shows the axes where they are."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from geotrap_cli.cameras import intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.axes_sheet import CELL, LABEL, MARGIN, axis_ends, write_axes_sheet
from geotrap_cli.data.check import CheckResult, run_check
from geotrap_cli.data.inspection import inspect_objects
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.procedural.dataset import ProceduralConfig, ProceduralDataset
from geotrap_cli.data.recognition import recognise
from geotrap_cli.errors import UsageError


def checked(root: Path, sheet: Path | None = None, kind: str | None = None, **options: Any) -> CheckResult:
    return run_check(root, kind, options, sheet, 8, Console(file=StringIO()), quiet=True)


def test_a_right_set_has_no_fault(balls: Any) -> None:
    result = checked(balls.root)
    assert result.kind == "blender" and result.failure is None
    assert [report.id for report in result.reports] == ["tool/c", "toy/a", "toy/b"]
    for report in result.reports:
        assert report.rotation_error is not None and report.rotation_error < 1e-12
        assert report.axis_offset is not None and report.axis_offset < 1e-12
        assert report.hull_share is not None and report.hull_share > 0.9
        assert report.distances == pytest.approx((3.0, 3.0)) and report.fov_deg == pytest.approx((49.1, 49.1))
        assert (report.views, report.left_out, report.upright) == (16, 0, 1.0)


def swap_images(table: dict[str, Any]) -> None:
    frames = table["frames"]
    frames[0]["file_path"], frames[2]["file_path"] = frames[2]["file_path"], frames[0]["file_path"]


def turn_over(table: dict[str, Any]) -> None:
    for frame in table["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([-1, -1, 1, 1])).tolist()


def scale(table: dict[str, Any]) -> None:
    table["frames"][5]["transform_matrix"] = (np.array(table["frames"][5]["transform_matrix"]) * 0.8).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_images, r"frame \d+: its silhouette disagrees"),
        (turn_over, "every camera is upside down"),
        (scale, "frame 5: transform_matrix holds no rotation"),
    ],
)
def test_every_object_at_fault_is_told_and_the_others_are_not(balls: Any, change: Any, message: str) -> None:
    for id in ("toy/a", "tool/c"):
        balls.edit(id, change)
    result = checked(balls.root)
    assert [report.id for report in result.at_fault] == ["tool/c", "toy/a"]
    for report in result.at_fault:
        assert report.problem.startswith(str(balls.table(report.id)))
        assert re.search(message, report.problem)
    assert isinstance(result.failure, UsageError) and "2 of 3 objects are at fault" in str(result.failure)


def test_files_at_fault_are_named(balls: Any) -> None:
    balls.image("toy/a", 11).unlink()
    balls.table("toy/b").write_text("{")
    content = balls.image("tool/c", 9).read_bytes()
    balls.image("tool/c", 9).write_bytes(content[:200])
    problems = {report.id: report.problem for report in checked(balls.root).reports}
    assert "r_11.png: image not found" in problems["toy/a"]
    assert "b/transforms.json: " in problems["toy/b"]
    assert "c/r_9.png: damaged image" in problems["tool/c"]


def test_the_payload_is_json_whatever_was_measured(balls: Any) -> None:
    balls.edit("toy/a", lambda table: table["frames"][0].update(transform_matrix=(-np.eye(4)).tolist()))
    payload = checked(balls.root).payload()
    text = json.dumps(payload, allow_nan=False)
    assert payload["at_fault"] == 1
    assert json.loads(text)["objects"][1]["rotation_error"] is None


def test_a_data_set_without_files_is_inspected_through_its_views(tmp_path: Path) -> None:
    dataset = ProceduralDataset(ProceduralConfig(objects_per_category=1, size=64, cache=tmp_path))
    few = type("Few", (), {"records": dataset.records[:2], "views": dataset.views})()
    reports = inspect_objects(few, {})
    assert [report.problem for report in reports] == ["", ""]
    assert all(report.hull_share and report.hull_share > 0.85 for report in reports)
    assert reports[0].distances == pytest.approx((1.5, 1.5), abs=1e-5)


KINDS = ["omniobject3d_24", "omniobject3d_100", "google_scanned", "zero123", "gobjaverse", "nerf_synthetic"]


def test_the_built_in_layouts_are_recognised_by_their_first_object(balls: Any, tmp_path: Path) -> None:
    assert recognise(balls.root) == "blender"
    signs = {
        "omniobject3d_24": ["img/axe_001/000.png", "img/axe_001/transforms.json"],
        "omniobject3d_100": ["axe/axe_001/render/transforms.json"],
        "google_scanned": ["Mug/transforms.json", "Mug/r_000.png"],
        "zero123": ["0a/000.npy", "0a/000.png"],
        "gobjaverse": ["0/100/campos_512_v4/00000/00000.json"],
        "nerf_synthetic": ["lego/transforms_train.json"],
    }
    assert sorted(signs) == sorted(KINDS)
    for kind, names in signs.items():
        for name in names:
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / name).write_bytes(b"")
        assert recognise(tmp_path / kind) == kind
    (tmp_path / "other" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="no built-in data set"):
        recognise(tmp_path / "other")


def test_axes_end_where_the_camera_sees_them() -> None:
    # From the front: x to the right, y up, z towards the camera, that is onto the origin.
    ends = axis_ends(orbit_viewmats(0, 0, 2.0).double().numpy(), intrinsics_from_fov(0.9, 100, 100).double().numpy())
    np.testing.assert_allclose(ends[0], (50, 50))
    np.testing.assert_allclose(ends[3], (50, 50))
    assert ends[1, 0] > 60 and ends[1, 1] == pytest.approx(50)
    assert ends[2, 1] < 40 and ends[2, 0] == pytest.approx(50)


def test_the_sheet_draws_objects_at_fault_first_and_their_axes(balls: Any, tmp_path: Path) -> None:
    balls.edit("toy/b", turn_over)
    sheet = tmp_path / "sheet.png"
    assert checked(balls.root, sheet).sheet == sheet
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (3 * (CELL + LABEL + MARGIN) + MARGIN, 8 * (CELL + MARGIN) + MARGIN, 3)
    green = (pixels == (0, 140, 40)).all(axis=-1)
    row, cell = CELL + LABEL + MARGIN, slice(MARGIN, MARGIN + CELL)
    for place, upside_down in ((0, True), (1, False), (2, False)):
        top = place * row + MARGIN + LABEL
        heights = np.nonzero(green[top : top + CELL, cell])[0]
        assert (heights.mean() > CELL / 2) == upside_down


def test_an_unreadable_view_leaves_its_cell_grey(balls: Any, tmp_path: Path) -> None:
    balls.image("toy/a", 0).unlink()
    failures: dict[str, UsageError] = {}
    dataset = open_dataset("blender", {"root": balls.root}, failures)
    reports = [report for report in inspect_objects(dataset, failures) if report.id == "toy/a"]
    write_axes_sheet(dataset, reports, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.getpixel((MARGIN + CELL - 2, MARGIN + LABEL + CELL - 2)) == (225, 225, 225)
