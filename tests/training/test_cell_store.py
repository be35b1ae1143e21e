"""Attack runs that share a store: what was measured is taken over, what differs is measured, a kill loses one cell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.store import ResultsStore
from geotrap_cli.training import cell_store
from geotrap_cli.training.attack_cell import CellRunner


def made_up(runner: CellRunner) -> Cell:
    """A cell without an attack."""
    scores = [ObjectScore("a/0", "a", "a", {"foreground_psnr": 15.0, "white_foreground_psnr": 10.0})]
    evaluations = [CellEvaluation(step, scores, None) for step in (0, 2)]
    seed = runner.bench.profile.attack.seed
    return Cell(runner.method, runner.subject, 2, seed, evaluations, None, 1.0, 1, None, None, runner.family)


class Attacks:
    """Attacks the trained weights and counts the cells that are measured; all but ``real`` ones cost nothing."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.measured: list[str] = []
        self.killed_at: int | None = None
        self.real = False
        run, save = CellRunner.run, CellRunner.save

        def counted(runner: CellRunner, *arguments: Any) -> Cell:
            if len(self.measured) == self.killed_at:
                raise KeyboardInterrupt
            self.measured.append(runner.name)
            return run(runner, *arguments) if self.real else made_up(runner)

        patch.setattr(CellRunner, "run", counted)
        patch.setattr(CellRunner, "save", lambda *arguments: save(*arguments) if self.real else None)
        patch.setattr("geotrap_cli.reports.compare_files.draw_curves", lambda _, path: path.touch())

    def __call__(self, *arguments: str) -> int:
        (train,) = self.root.glob("*-train-*")
        return main(["attack", "--quiet", "--run", str(train), "--set", "attack.steps=2", *arguments])

    def runs(self) -> list[Path]:
        return sorted(self.root.glob("*-attack-*"), key=lambda run: (run.name.count("-"), run.name))


@pytest.fixture
def attacks(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attacks]:
    root = tmp_path / "runs"
    shutil.copytree(trained, root)
    yield Attacks(root, monkeypatch)


def cells(run: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted((run / "cells").iterdir())}


def test_the_same_attack_is_measured_once_and_leaves_the_same_cells(attacks: Attacks) -> None:
    attacks.real = True
    assert attacks() == attacks() == 0
    assert attacks.measured == ["lora-undefended", "lora-defended"]
    first, second = attacks.runs()
    assert cells(first) == cells(second)
    renders = [{path.name: path.read_bytes() for path in (run / "renders").iterdir()} for run in (first, second)]
    assert renders[0] == renders[1]
    reused = json.loads((second / "manifest.json").read_text())["reused"]
    assert reused == dict.fromkeys(attacks.measured, str(first.resolve()))
    cell = cells(first)["lora-defended.json"]
    assert cell["settings"] and cell["batch_size"] == 2
    assert {"chamfer", "fscore"} <= cell["evaluations"][0]["target"][0]["metrics"].keys()
    released = cells(first)["lora-undefended.json"]["evaluations"][0]["target"]
    # The undefended weights lie at no distance from themselves; where they show nothing, it is undefined.
    assert {score["metrics"]["chamfer"] for score in released} <= {0.0, "nan"}


@pytest.mark.parametrize(
    "change", [["--seed", "7"], ["--set", "attack.lora.rank=2"], ["--set", "eval.views=1"], ["--no-reuse"]]
)
def test_what_differs_is_measured_anew(attacks: Attacks, change: list[str]) -> None:
    assert attacks() == attacks(*change) == 0
    assert len(attacks.measured) == 4


def test_other_weights_under_the_same_path_measure_anew(attacks: Attacks, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "weights").write_bytes(b"one")
    named = ("teacher_outputs", "--set", f"attack.teacher_outputs.teacher={teacher}")
    assert attacks(*named) == attacks(*named) == 0
    assert len(attacks.measured) == 2
    (teacher / "weights").write_bytes(b"two")
    cell_store.content_digest.cache_clear()
    assert attacks(*named) == 0
    assert len(attacks.measured) == 4


def test_content_is_that_of_all_files_of_a_folder_and_their_names(tmp_path: Path) -> None:
    digest = cell_store.content_digest.__wrapped__
    assert digest(tmp_path / "nothing") is None
    seen = []
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        (tmp_path / name).write_text(text)
        seen += [digest(tmp_path), digest(tmp_path / name)]
    assert len(set(seen)) == 5  # the last file is, by itself, the one before
    assert seen[3] == seen[5]


def test_other_code_measures_anew(attacks: Attacks, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attacks() == 0
    monkeypatch.setattr(cell_store, "attack_code", lambda *_: "another")
    assert attacks() == 0
    assert len(attacks.measured) == 4


def test_what_ended_early_keeps_its_finished_cells_for_the_next_run(attacks: Attacks) -> None:
    attacks.killed_at = 1
    assert attacks() == 130
    attacks.killed_at = None
    assert attacks() == 0
    assert attacks.measured == ["lora-undefended", "lora-defended"]
    assert len(ResultsStore(attacks.root).rows()) == 2


def test_stores_of_two_machines_compare_as_one(attacks: Attacks, tmp_path: Path, capsys: Any) -> None:
    assert attacks() == attacks("--seed", "1") == 0
    lines = (attacks.root / "results.jsonl").read_text().splitlines(keepends=True)
    parts = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    parts[0].write_text("".join(lines[:3]))
    parts[1].write_text("".join(lines[3:]))
    capsys.readouterr()
    stores = [argument for part in parts for argument in ("--store", str(part))]
    assert main(["compare", "--quiet", "--json", *stores]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {attack["attack"] for attack in document["attacks"]} == {"lora, seed 0", "lora, seed 1"}
    assert document["seeds"][0]["seeds"] == [0, 1]
