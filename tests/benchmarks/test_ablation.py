"""The ablation as a whole, on a tiny generator and in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.errors import GeotrapError

Run = Callable[..., int]
NUMBERS = {"before": -2.0, "after": -1.0, "undefended_before": 10.0, "undefended_after": 12.0}


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> Any:
    import ablation

    # A process of its own is for its memory; torch takes seconds to import.
    monkeypatch.setattr(ablation, "in_own_process", lambda function, *arguments: function(*arguments))
    return ablation


@pytest.fixture
def profiles(tmp_path: Path, mini_profile: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    budget = '[train]\nsteps = 2\n[attack]\nsteps = 1\nevaluations = 1\nmethods = ["full"]\n'
    (folder / "base.toml").write_text(f'# The base.\nextends = "{mini_profile}"\n{budget}[eval]\nobjects = 2\n')
    (folder / "noise.toml").write_text('# Noise.\nextends = "base"\n[robust]\nparameter_noise = 0.01\n')
    (folder / "sum.toml").write_text('# Sum.\nextends = "base"\n[aggregation]\nmethod = "sum"\n')
    return folder


@pytest.fixture
def run(ablation: Any, profiles: Path, tmp_path: Path) -> Run:
    common = ("--out", str(tmp_path / "out"), "--profiles", str(profiles), "--device", "cpu")
    return lambda *more: ablation.main([*common, *more])


def rows(out: Path) -> dict[str, dict[str, str]]:
    return {row["mechanism"]: row for row in csv.DictReader((out / "table.csv").read_text().splitlines())}


@pytest.mark.usefixtures("shared_cache")
def test_a_grid_is_run_once_and_tabulated(
    ablation: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--only", "noi*", "--seeds", "0", "1") == 0
    text = capsys.readouterr().out
    assert text == (out / "table.md").read_text()
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == ["| `undefended`", "| `base`", "| `noise`"]

    found = rows(out)
    assert found["noise"]["seeds"] == "2"
    base, noise = (float(found[name]["target_after_full"]) for name in ("base", "noise"))
    assert float(found["noise"]["target_after_full_minus_base"]) == pytest.approx(noise - base)
    undefended = float(found["undefended"]["target_after_full"])
    defended = float(found["base"]["target_after_full"])
    assert float(found["base"]["target_after_full_minus_undefended"]) == pytest.approx(defended - undefended)
    assert float(found["noise"]["train_seconds"]) > 0
    assert float(found["noise"]["peak_memory_bytes"]) > 0

    # One attack on the undefended weights and one on each of two defended ones, for each of two seeds.
    assert len((out / "runs" / "results.jsonl").read_text().splitlines()) == 2 * 3

    monkeypatch.setattr(ablation, "in_own_process", lambda *_: pytest.fail("a finished cell was run again"))
    assert run("--only", "noise", "--seeds", "0", "1") == 0


def test_another_profile_is_another_cell_and_a_failure_is_told(
    ablation: Any, run: Run, tmp_path: Path, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, failing = [], {"sum-seed0"}

    def measures(_: Any, cell: Any) -> None:
        tried.append(cell.name)
        if cell.name in failing:
            raise GeotrapError("it diverged")
        changes = [{"id": "x", "group": "x", "split": split, **NUMBERS} for split in ("target", "source")]
        record = {"profile": ablation.profile_digest(cell.loaded.profile), "seconds": 1.0, "cost": None}
        ablation.write_json(cell.file, {**record, "attacks": {"full": changes}})

    monkeypatch.setattr(ablation, "in_own_process", measures)
    monkeypatch.setattr(ablation, "seconds_a_pass", lambda _: 1.0)
    assert run("--seeds", "0") == 1
    assert tried == ["base-seed0", "noise-seed0", "sum-seed0"]
    # What failed has no row; what was not measured is no number.
    assert list(found := rows(tmp_path / "out")) == ["undefended", "base", "noise"]
    assert found["noise"]["train_seconds"] == ""

    tried.clear()
    failing.clear()
    (profiles / "noise.toml").write_text('extends = "base"\n[robust]\nparameter_noise = 0.02\n')
    ablation._load.cache_clear()
    assert run("--seeds", "0") == 0
    assert tried == ["noise-seed0", "sum-seed0"]


def test_a_dry_run_names_every_cell_and_writes_nothing(
    ablation: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablation, "seconds_a_pass", lambda _: 1.0)
    assert run("--dry-run", "--seeds", "0", "1") == 0
    shown = capsys.readouterr()
    names = [line.split()[0] for line in shown.out.splitlines()]
    assert names == [f"{name}-seed{seed}" for seed in (0, 1) for name in ("base", "noise", "sum")]
    assert "6 of 6 cells left" in shown.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_name_is_refused_with_the_closest(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--only", "nois")
    assert "noise" in capsys.readouterr().err


def test_time_left_follows_what_was_measured(ablation: Any, profiles: Path, tmp_path: Path) -> None:
    study = ablation.Study(tmp_path, profiles, (), "cpu")
    cells = ablation.choose(study, ["noise"], [0])
    base, noise = (ablation.work(cell) for cell in cells)
    # The base also attacks the undefended weights; noise takes a pass more, forward and backward, in a step.
    one_attack = 1 * 2 * 3 + (1 + 3) * 2
    assert base - noise == one_attack - 2 * 2 * 3
    record = {"profile": ablation.profile_digest(cells[0].loaded.profile), "seconds": 2.5 * base}
    cells[0].file.parent.mkdir()
    cells[0].file.write_text(json.dumps(record))
    assert ablation.seconds_a_pass(cells) == pytest.approx(2.5)
