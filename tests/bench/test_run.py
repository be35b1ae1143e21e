"""``geotrap bench`` as a whole, on a tiny generator."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.bench import crew as bench_crew
from geotrap_cli.bench.job import Job, Outcome

Write = Callable[..., Path]
LOX = '[defenses.lox]\nweights_of = { defended = "strong" }\n'
pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that are done, in order."""
    names: list[str] = []
    original = bench_crew.perform

    def noting(job: Job) -> Outcome:
        names.append(job.name)
        return original(job)

    monkeypatch.setattr(bench_crew, "perform", noting)
    return names


def board(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "leaderboard.json").read_text())
    return {row["defense"]: row for row in document["rows"]}


def test_a_grid_from_dry_run_to_rerun(
    write_grid: Write,
    tmp_path: Path,
    worked: list[str],
    plan: Callable[[Path], dict[str, Any]],
    interrupt_at: Callable[[Path, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid, folder = write_grid(LOX), tmp_path / "runs" / "bench-grid"
    planned = plan(grid)
    # Three defenses, and of both attacks one undefended cell and three defended ones.
    assert (planned["jobs_left"], planned["cells_left"]) == (9, 8)
    assert planned["estimated_hours"] > 0 and planned["estimated_disk_bytes"] > 0
    assert not folder.exists()

    # Interrupted at its second attack, and one job fails.
    interrupt_at(grid, "mini, none, seed 0: sgd")
    assert "The same command goes on" in capsys.readouterr().err
    before = list(worked)
    assert "mini, none, seed 0: lora" in before

    worked.clear()
    assert main(["bench", str(grid)]) == 0
    out, err = capsys.readouterr()
    assert not set(worked) & set(before)
    assert len(worked) + len(before) == 9
    # Random weights are no better than a white image: what is measured has a worst attack, but defines no recovery.
    assert "[9/9]" in err and "strong: no recovery is defined" in err and " left" in err
    assert "not tested" in out
    rows = board(folder)
    assert rows.keys() == {"none", "strong", "lox"}
    assert all(row["attacks_measured"] == row["attacks_asked"] == 2 for row in rows.values())
    assert all(row["worst_attack"] is not None and row["missing"] == [] for row in rows.values())
    assert rows["strong"]["gradient_evaluations"] > 0 == rows["none"]["gradient_evaluations"]
    # What extends a defense costs what that one did.
    assert rows["lox"]["gradient_evaluations"] == rows["strong"]["gradient_evaluations"]
    assert rows["lox"]["seconds"] >= rows["strong"]["seconds"] > 0
    assert rows["none"]["source_change_db"] == 0
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert len(lines) == 8
    page = (folder / "leaderboard.html").read_text()
    assert "strong" in page and "What was not tested" in page
    assert "http" not in page.replace("http-equiv", "")
    assert (folder / "leaderboard.md").read_text().count("| none |") == 2
    assert len(list(csv.DictReader((folder / "leaderboard.csv").open()))) == 3

    # Everything is done: nothing is run again, and the board is the same.
    worked.clear()
    first = (folder / "leaderboard.md").read_text()
    assert main(["bench", str(grid), "--json"]) == 0
    assert worked == []
    assert (folder / "leaderboard.md").read_text() == first
    assert json.loads(capsys.readouterr().out)["failed"] == {}

    # Another machine takes over the cells of the store, and the costs of training are then unknown, not nothing.
    other = tmp_path / "elsewhere"
    assert main(["bench", str(grid), "--quiet", "--runs", str(other), "--store", str(folder)]) == 0
    assert worked == []
    merged = board(other / "bench-grid")
    unlike = {"seconds", "gradient_evaluations"}
    for name, row in rows.items():
        assert {key: merged[name][key] for key in row.keys() - unlike} == {key: row[key] for key in row.keys() - unlike}
    assert merged["strong"]["seconds"] is None

    # What was measured on other objects has no scale in common with the rest: it is missing, whatever it says.
    (id,) = {score["id"] for line in lines for score in json.loads(line)["cell"]["evaluations"][0]["target"]}
    moved = [line.replace(f'"{id}"', f'"{id}-other"') if '"method":"sgd"' in line else line for line in lines]
    (folder / "results.jsonl").write_text("".join(f"{line}\n" for line in moved))
    worked.clear()
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert worked == []
    assert [row["missing"] for row in board(folder).values()] == 3 * [["sgd, seed 0"]]

    # A cell that is gone is not measured, and measured again.
    kept = [line for line in lines if '"method":"lora","subject":"defended"' not in line]
    (folder / "results.jsonl").write_text("".join(f"{line}\n" for line in kept))
    shutil.rmtree(other)
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert sorted(worked) == [f"mini, {name}, seed 0: lora" for name in ("lox", "none", "strong")]
    assert board(folder)["strong"] == rows["strong"]


def test_a_control_that_is_asked_for_later_is_measured(write_grid: Write, tmp_path: Path, worked: list[str]) -> None:
    grid = write_grid()
    text = grid.read_text().replace('"lora", "sgd"', '"sgd"')
    grid.write_text(text)
    assert main(["bench", str(grid), "--quiet"]) == 0
    worked.clear()
    grid.write_text(text.replace('"eval.objects=1"', '"eval.objects=1", "attack.controls=scratch"'))
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert worked == ["mini, none, seed 0: sgd", "mini, strong, seed 0: sgd"]
    lines = (tmp_path / "runs" / "bench-grid" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["cell"]["subject"] for line in lines].count("scratch") == 1
    worked.clear()
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert worked == []


def test_results_of_other_objects_are_not_taken_for_these(
    write_grid: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from geotrap_cli.data.procedural.dataset import ProceduralDataset

    grid = write_grid()
    grid.write_text(grid.read_text().replace('"lora", "sgd"', '"sgd"'))
    assert main(["bench", str(grid), "--quiet"]) == 0
    monkeypatch.setattr(ProceduralDataset, "fingerprint", lambda _: "another")
    assert main(["bench", str(grid), "--quiet"]) == 2
    assert "the data of profile 'mini' are not those that" in capsys.readouterr().err


def test_what_failed_is_not_measured_and_is_tried_again(
    write_grid: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = bench_crew.perform

    def fails(job: Job) -> Outcome:
        return Outcome(job.name, error="the loss is nan") if job.entry[1] == "strong" else original(job)

    grid = write_grid()
    grid.write_text(grid.read_text().replace('"lora", "sgd"', '"sgd"'))
    with monkeypatch.context() as patch:
        patch.setattr(bench_crew, "perform", fails)
        assert main(["bench", str(grid)]) == 1
    out, err = capsys.readouterr()
    assert "2 jobs failed" in err and "tries them again" in err
    row = board(tmp_path / "runs" / "bench-grid")["strong"]
    assert (row["state"], row["worst_recovery"], row["attacks_measured"]) == ("NOT_RUN", None, 0)
    assert "the loss is nan" in row["failures"][0]
    assert "not measured" in out
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert board(tmp_path / "runs" / "bench-grid")["strong"]["attacks_measured"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--executor", "slurm"), "process, local, ray"),
        (("--jobs", "2"), "--jobs does not act"),
        (("--store", "nowhere.jsonl"), "there is no store"),
    ],
)
def test_options_that_cannot_act_are_refused(
    write_grid: Write, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(write_grid()), *options]) == 2
    assert message in capsys.readouterr().err


def test_only_one_works_on_a_grid(write_grid: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    folder = tmp_path / "runs" / "bench-grid"
    folder.mkdir(parents=True)
    with FileLock(folder / ".bench.lock"):
        assert main(["bench", str(write_grid())]) == 1
    assert "another process works on the grid" in capsys.readouterr().err
