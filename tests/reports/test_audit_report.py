"""The audit inside a comparison: which geometry is taken from where, and what is said of what is not there."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from geotrap_cli.evaluation.audit import AUDIT, GRADIENT_DEFENDED, TrapAudit, TrapDepths, write_audit
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.geometry import GeometryRecorder, GeometryState
from geotrap_cli.gaussians import CHANNELS, activate
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.compare import CompareResult, run_compare
from geotrap_cli.reports.geometry_plots import GEOMETRY
from geotrap_cli.reports.request import CompareRequest
from geotrap_cli.runs import create_run

CURVES = (18.0, 24.0), (14.0, 15.0)
BEFORE = {"undefended": 0.0, "defended": -9.0}
AFTER = {"undefended": 1.0, "defended": -3.0}
WEIGHTS = {"undefended": "u" * 8, "defended": "d" * 8}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is the slow part, and recovery curves have tests of their own."""
    monkeypatch.setattr("geotrap_cli.reports.compare_files.draw_curves", lambda _, path: path.touch())
    monkeypatch.setattr("geotrap_cli.reports.audit.geometry_picture", lambda _, path: path.touch())


def geometry(opacity: float, objects: Sequence[str] = ("mug/0",)) -> GeometryState:
    """The state of identical Gaussians whose opacities have this logit."""
    raw = torch.zeros(len(objects), 10, 14)
    raw[..., CHANNELS["opacities"]] = opacity
    recorder = GeometryRecorder()
    recorder.see(activate(raw), list(objects))
    found = recorder.report()
    assert found is not None
    return found


def with_geometry(cells: Sequence[Cell]) -> list[Cell]:
    """The cells as attacks leave them: measured at both ends."""
    found = []
    for cell in cells:
        first, *between, last = cell.evaluations
        first = dataclasses.replace(first, geometry=geometry(BEFORE[cell.subject]))
        last = dataclasses.replace(last, geometry=geometry(AFTER[cell.subject]))
        found.append(dataclasses.replace(cell, evaluations=[first, *between, last]))
    return found


def train_run(root: Path, defended: str = WEIGHTS["defended"], objects: Sequence[str] = ("mug/0",)) -> str:
    audit = TrapAudit(
        depths=[TrapDepths("position", -1.0, -9.25, None, -8.25)],
        source_drift=0.0125,
        source_drift_by_attribute=dict.fromkeys(CHANNELS, 0.001),
        geometry={name: geometry(logit, objects) for name, logit in BEFORE.items()},
        shortcut={GRADIENT_DEFENDED: None},
    )
    with create_run("train", "sample", "", root) as run:
        run.record(defended=defended)
        write_audit(run.path, audit)
        run.finish({})
    return str(run.path)


def compare(runs: Any) -> CompareResult:
    options, console = CommonOptions(runs=runs.root, quiet=True), Console(file=io.StringIO())
    result = run_compare(options, console, CompareRequest(details=True))
    assert isinstance(result, CompareResult)
    return result


def shown(result: CompareResult, width: int = 80) -> str:
    target = Console(file=io.StringIO(), width=width)
    result.render(target)
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def document(result: CompareResult) -> dict[str, Any]:
    found = json.loads((result.run / "comparison.json").read_text(), parse_constant=pytest.fail)["trap_audit"]
    assert found == result.payload()["trap_audit"]
    return dict(found)


def opacity(state: dict[str, Any]) -> float:
    return float(state["quantiles"]["opacity"]["p50"])


def sigmoid(logit: float) -> Any:
    return pytest.approx(torch.sigmoid(torch.tensor(logit)).item())


def test_everything_measured_is_printed_stored_and_drawn(runs: Any, make_pair: Any) -> None:
    runs.attack(with_geometry(make_pair(*CURVES)), train_run=train_run(runs.root))
    result = compare(runs)
    found = document(result)
    assert set(found) == {"train", "before", "attacks", "missing"}
    assert found["missing"] == []
    assert found["train"]["depths"][0]["relative"] == -8.25
    (attack,) = found["attacks"]
    assert attack["attack"] == "lora"
    for name in WEIGHTS:
        assert opacity(found["before"][name]) == sigmoid(BEFORE[name])
        assert opacity(attack[name]) == sigmoid(AFTER[name])
    text = shown(result)
    for title in ("Trap depth", "Geometry on", "Gaussians of target", "Drift of", "Shortcut check"):
        assert title in text
    assert "lora: defended" in text
    assert result.files["geometry"] == result.run / GEOMETRY
    assert (result.run / GEOMETRY).is_file()


def test_old_runs_still_compare_and_say_what_is_missing(runs: Any, make_pair: Any) -> None:
    runs.attack([*make_pair(*CURVES), *make_pair(*CURVES, "full")])
    result = compare(runs)
    found = document(result)
    assert found["train"] is None
    assert found["before"] == {"undefended": None, "defended": None}
    assert {entry["attack"] for entry in found["attacks"]} == {"lora", "full"}
    assert all(entry["undefended"] is None for entry in found["attacks"])
    text = " ".join(shown(result).split())
    assert "not measured: depths, source drift and shortcut check: runs/train is not a run folder" in text
    assert "not measured: geometry before attacks of the undefended and the defended weights" in text
    assert text.count("measured by an older version") == 1
    assert "Geometry on held-out" not in text
    assert not (result.run / GEOMETRY).exists()
    assert "geometry" not in result.files


def test_a_train_run_without_an_audit_is_named(runs: Any, make_pair: Any) -> None:
    path = train_run(runs.root)
    (Path(path) / AUDIT).unlink()
    runs.attack(with_geometry(make_pair(*CURVES)), train_run=path)
    result = compare(runs)
    assert document(result)["missing"] == [f"depths, source drift and shortcut check: {path} has no audit.json"]
    assert "Geometry on held-out" in shown(result)
    assert "Trap depth" not in shown(result)


def test_the_audit_of_other_weights_is_not_taken(runs: Any, make_pair: Any) -> None:
    runs.attack(with_geometry(make_pair(*CURVES)), train_run=train_run(runs.root, defended="other"))
    found = document(compare(runs))
    assert found["train"] is None
    assert "other weights than those attacked" in found["missing"][0]


def test_old_attacks_take_the_geometry_before_from_the_train_run(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(*CURVES), train_run=train_run(runs.root))
    found = document(compare(runs))
    assert opacity(found["before"]["defended"]) == sigmoid(BEFORE["defended"])
    (line,) = found["missing"]
    assert line == "geometry after lora (undefended), lora (defended): measured by an older version"


def test_geometry_of_other_objects_is_pointed_out(runs: Any, make_pair: Any) -> None:
    cells = with_geometry(make_pair(*CURVES))
    # Measured after the attack only, so that what lies before has to come from the train run.
    cells = [
        dataclasses.replace(
            cell, evaluations=[dataclasses.replace(cell.evaluations[0], geometry=None), *cell.evaluations[1:]]
        )
        for cell in cells
    ]
    runs.attack(cells, train_run=train_run(runs.root, objects=("mug/7",)))
    assert any("the same objects" in line for line in document(compare(runs))["missing"])


def test_an_attack_that_was_cut_short_left_no_geometry_after_it(runs: Any, make_pair: Any) -> None:
    undefended, defended = with_geometry(make_pair((18.0, 21.0, 24.0), (14.0, 14.5, 15.0)))
    defended = dataclasses.replace(defended, evaluations=defended.evaluations[:2])
    runs.attack([undefended, defended], train_run=train_run(runs.root))
    found = document(compare(runs))
    assert found["attacks"][0]["defended"] is None
    assert found["missing"] == ["geometry after lora (defended): cut short"]


def test_tables_show_the_strongest_attacks_and_the_document_all(runs: Any, make_pair: Any) -> None:
    cells = [cell for index in range(5) for cell in make_pair((18.0, 24.0), (14.0, 15.0 + index), f"a{index}")]
    runs.attack(with_geometry(cells), train_run=train_run(runs.root))
    result = compare(runs)
    assert len(document(result)["attacks"]) == 5
    text = shown(result)
    assert "a4: defended" in text
    assert "a1: defended" not in text
