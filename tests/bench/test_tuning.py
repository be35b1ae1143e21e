"""``geotrap bench`` with trials, on a tiny generator: before everything else, never twice, and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.bench import crew
from geotrap_cli.bench.job import Job, Outcome

Write = Callable[..., Path]
TUNED = """
attacks = ["sgd"]
set = ["train.steps=1", "train.batch_size=1", "attack.steps=1", "attack.batch_size=1", "attack.evaluations=1",
    "eval.objects=1"]

[profiles.mini]
profile = "{profile}"

[tune]
trials = 2
attacks = ["sgd"]
source_loss_bound = 100.0

[defenses.none]

[defenses.strong]
method = "geotrap"
set = ["train.lr=0.01"]

[defenses.lox]
weights_of = {{ defended = "strong" }}
"""
pytestmark = pytest.mark.usefixtures("shared_cache")
Perform = Callable[[Job], Outcome]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that are done, in order."""
    names: list[str] = []
    original = crew.perform

    def noting(job: Job) -> Outcome:
        names.append(job.name.removeprefix("mini, "))
        return original(job)

    monkeypatch.setattr(crew, "perform", noting)
    return names


def tuned(folder: Path) -> dict[str, dict[str, object]]:
    return {one["defense"]: one for one in json.loads((folder / "tuning.json").read_text())}


def test_trials_from_dry_run_to_rerun(
    write_grid: Write,
    tmp_path: Path,
    worked: list[str],
    plan: Callable[[Path], dict[str, Any]],
    interrupt_at: Callable[[Path, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid, folder = write_grid(text=TUNED), tmp_path / "runs" / "bench-grid"
    planned = plan(grid)
    # Each of both objects has an undefended cell; the first trial of a defense is trained once with what it is of.
    assert (planned["trials_left"], planned["jobs_left"], planned["cells_left"]) == (4, 3 + 2 + 3 + 4, 4 + 5)

    # Interrupted in the second trial.
    interrupt_at(grid, "mini, strong, trial 1: sgd")
    assert worked == ["strong, trial 0: defense", "strong, trial 0: sgd", "strong, trial 1: defense"]
    assert "tuning [3/4]" in capsys.readouterr().err

    before = [*worked]
    worked.clear()
    assert main(["bench", str(grid)]) == 0
    out, err = capsys.readouterr()
    assert "on validation objects" in err and "Tuning" in out
    # The first stage ends, then what takes its weights is tuned, then all is measured; the chosen one is trained.
    chosen = {name: one["chosen"] for name, one in tuned(folder).items()}
    assert chosen["none"] is None and {chosen["strong"], chosen["lox"]} <= {0, 1}
    assert worked == [
        "strong, trial 1: sgd",
        "lox, trial 0: defense",
        "lox, trial 0: sgd",
        "lox, trial 1: defense",
        "lox, trial 1: sgd",
        "none, seed 0: defense",
        "none, seed 0: sgd",
        "strong, seed 0: sgd",
        "lox, seed 0: sgd",
    ]
    assert not set(before) & set(worked)
    assert len((folder / "results.jsonl").read_text().splitlines()) == 9
    check_board(folder)

    # Everything is done; of a further trial nothing but itself is left.
    worked.clear()
    assert main(["bench", str(grid), "--quiet"]) == 0
    assert worked == []
    grid.write_text(grid.read_text().replace("trials = 2", "trials = 3"))
    capsys.readouterr()
    assert main(["bench", str(grid), "--dry-run", "--json"]) == 0
    left = {one["defense"]: one["trials_left"] for one in json.loads(capsys.readouterr().out)["defenses"]}
    assert left["none"] == 0 and left["strong"] == 1


def check_board(folder: Path) -> None:
    document = json.loads((folder / "leaderboard.json").read_text())
    rows = {row["defense"]: row for row in document["rows"]}
    assert {name: row["tuning_trials"] for name, row in rows.items()} == {"none": 0, "strong": 2, "lox": 2}
    assert all(row["missing"] == [] for row in rows.values())
    for name, one in tuned(folder).items():
        told = " ".join(f"{key}={value}" for key, value in dict(one["options"]).items())  # type: ignore[call-overload]
        assert rows[name]["tuned_options"].replace('"', "") == told
        setting = json.loads((folder / "leaderboard.json").read_text())
        assert one in setting["tuning"]
    for file in ("leaderboard.html", "leaderboard.md"):
        assert "nothing to search" in (folder / file).read_text()
    # What was chosen by and what is reported are other objects.
    cells = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for cell in cells:
        measured = cell["inputs"]["data"]["measured"]
        seen["source_validation" in cell["inputs"]["data"]["splits"]] |= {id for ids in measured for id in ids}
    assert seen[True] and seen[False] and not seen[True] & seen[False]


def test_a_trial_that_diverges_is_spent_and_one_that_fails_is_told(
    write_grid: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TUNED[: TUNED.index("[defenses.lox]")].replace("[defenses.none]\n", "")
    grid, folder = write_grid(text=text), tmp_path / "runs" / "bench-grid"
    original: Perform = crew.perform
    diverged = [False]

    def fails(job: Job) -> Outcome:
        if job.name == "mini, strong, trial 1: defense":
            return Outcome(job.name, error="the loss is nan", diverged=diverged[0])
        return original(job)

    monkeypatch.setattr(crew, "perform", fails)
    assert main(["bench", str(grid)]) == 1
    assert "trial 1: defense first: the loss is nan" in capsys.readouterr().err
    row = json.loads((folder / "leaderboard.json").read_text())["rows"][0]
    assert row["missing"] == [] and "trial 1" in row["failures"][0]
    diverged[0] = True
    assert main(["bench", str(grid), "--quiet"]) == 0
    found = tuned(folder)["strong"]
    assert (found["chosen"], found["trials_measured"]) == (0, 1)
    assert "1 of 2" in (folder / "leaderboard.md").read_text()
