"""``geotrap sweep`` as a whole, on a tiny generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.sweep import cell

Sweep = Callable[..., int]


@pytest.fixture
def sweep(mini_profile: Path) -> Sweep:
    grid = ("--traps", "position", "opacity", "--size", "2")
    budget = ("--set", "train.steps=2", "--set", "attack.steps=2", "--set", "attack.evaluations=1")
    return lambda *more: main(["sweep", "--quiet", "--profile", str(mini_profile), *grid, *budget, *more])


def only_sweep(root: Path) -> Path:
    (run,) = root.glob("*-sweep-*")
    return run


@pytest.mark.usefixtures("shared_cache")
def test_trains_attacks_and_ranks_every_combination(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked: list[Any] = []

    def stops_at_the_second(options: Any, loaded: Any, console: Any) -> Any:
        attacked.append(loaded.name)
        if len(attacked) == 2:
            raise KeyboardInterrupt
        return original(options, loaded, console)

    original = cell.run_attack
    monkeypatch.setattr(cell, "run_attack", stops_at_the_second)
    assert sweep() == 130
    run = only_sweep(tmp_path / "runs")
    assert [file.stem for file in (run / "rows").iterdir()] == ["position"]

    assert main(["sweep", "--quiet", "--json", "--resume"]) == 0
    # What was finished before is not run again: one attack for each of the other two, after the one that stopped.
    assert attacked == ["position", "opacity", "opacity", "position-opacity"]
    trained = [json.loads(file.read_text()) for file in (run / "runs").glob("*-train-*/manifest.json")]
    assert sorted(manifest["profile"] for manifest in trained) == ["opacity", "position", "position-opacity"]

    document = json.loads(capsys.readouterr().out)
    rows = {tuple(one["traps"]): one for one in document["combinations"]}
    assert rows.keys() == {("position",), ("opacity",), ("position", "opacity")}
    pair = rows["position", "opacity"]
    better = min(rows["position",]["target_after"], rows["opacity",]["target_after"])
    assert pair["coupling_gain"] == pytest.approx(better - pair["target_after"])
    assert (run / "sweep.csv").read_text().count("\n") == 4


def test_dry_run_lists_the_grid_and_writes_nothing(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--dry-run") == 0
    out = capsys.readouterr().out
    assert "position + opacity" in out
    assert "3 defenses of 2 steps, each attacked by lora for 2 steps" in " ".join(out.split())
    assert "time about" in " ".join(out.split())
    assert not (tmp_path / "runs").exists()


def test_a_refused_combination_ends_the_sweep_before_its_first_step(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--traps", "dead_zone", "opacity", "--set", "aggregation.method=product")
    for dry in ((), ("--dry-run",)):
        assert sweep(*wrong, *dry) == 2
        assert "dead_zone" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/runs"))


@pytest.mark.parametrize("option", [("--size", "2"), ("--no-singles",), ("--traps", "position")])
def test_resume_keeps_the_grid(option: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *option, "--resume"]) == 2
    assert "own grid" in capsys.readouterr().err
