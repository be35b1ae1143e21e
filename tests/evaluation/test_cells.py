from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import CONTROLS, SUBJECTS, Cell, CellEvaluation, has_cell, read_cell, write_cell
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.geometry import GeometryRecorder
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.gaussians import activate


def sample(value: float = 20.0, subject: str = "defended", health: AttackHealth | None = None) -> Cell:
    score = ObjectScore("mug/0", "mug", "mug", {"foreground_psnr": value, "ssim": 0.5})
    evaluations = [CellEvaluation(0, [score], None), CellEvaluation(10, [score], [ObjectScore("a", "a", "b", {})])]
    return Cell("lora", subject, 10, 3, evaluations, health, 1.5, 7, None, value)


@given(st.floats())
def test_every_number_survives(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    cell = sample(value)
    found = read_cell(write_cell(tmp_path_factory.mktemp("cells"), cell))
    read = found.evaluations[0].target[0].metrics["foreground_psnr"]
    assert read == value or (math.isnan(read) and math.isnan(value))
    if not math.isnan(value):
        assert found == cell


@pytest.mark.parametrize(("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_file_is_strict_json(tmp_path: Path, value: float, text: str) -> None:
    path = write_cell(tmp_path / "cells", sample(value))
    assert path == tmp_path / "cells" / "lora-defended.json"
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["last_loss"] == text


@pytest.mark.parametrize("health", [None, AttackHealth(0.5, None, 0, False)])
def test_missing_measurements_stay_missing(tmp_path: Path, health: AttackHealth | None) -> None:
    found = read_cell(write_cell(tmp_path, sample(health=health)))
    assert (found.health, found.first_loss, found.evaluations[0].source) == (health, None, None)


def test_folder(tmp_path: Path) -> None:
    for subject in (*SUBJECTS, *CONTROLS):
        assert not has_cell(tmp_path, "lora", subject)
        path = write_cell(tmp_path, sample(subject=subject))
        assert has_cell(tmp_path, "lora", subject)
        assert read_cell(path).subject == subject
    assert not has_cell(tmp_path, "full", "defended")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"steps": 10', '"steps": "many"', "steps:"),
        ('"method": "lora"', '"method": "full"', "holds the attack 'full'"),
        ('"subject": "defended"', '"subject": "stranger"', "'stranger' weights"),
        ('"step": 10', '"step": 0', "order of the steps"),
        ('"id": "a"', '"id": "mug/0"', "appears twice"),
        ('"seconds": 1.5,', "", "seconds:"),
        ('"seconds": 1.5,', '"seconds": null,', "seconds:"),
        ("{", "", "JSON"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = write_cell(tmp_path, sample())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=problem) as error:
        read_cell(path)
    assert str(path) in error.value.message
    assert error.value.hint


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none"):
        read_cell(tmp_path / "none.json")


def test_geometry_survives_and_old_cells_have_none(tmp_path: Path) -> None:
    recorder = GeometryRecorder()
    raw = torch.randn(2, 10, 14, generator=torch.Generator().manual_seed(0))
    # One size underflows: its anisotropy is infinite, which JSON cannot say.
    raw[0, 0, 4] = -200.0
    recorder.see(activate(raw), ["mug/0", "mug/1"])
    cell = sample()
    final = dataclasses.replace(cell.evaluations[-1], geometry=recorder.report())
    path = write_cell(tmp_path, dataclasses.replace(cell, evaluations=[cell.evaluations[0], final]))
    found = read_cell(path)
    assert found.evaluations[-1] == final
    assert found.evaluations[0].geometry is None
    fields = json.loads(path.read_text())
    del fields["evaluations"][-1]["geometry"]
    path.write_text(json.dumps(fields))
    assert read_cell(path).evaluations[-1].geometry is None
