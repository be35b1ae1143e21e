"""Small grids, jobs without work, and results that follow given curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.bench import crew
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import load_profile

SMALL = """
attacks = ["lora", "sgd"]
set = ["train.steps=1", "train.batch_size=1", "attack.steps=1", "attack.batch_size=1", "attack.evaluations=1",
    "attack.lora.rank=2", "eval.objects=1"]

[profiles.mini]
profile = "{profile}"

[defenses.none]

[defenses.strong]
method = "geotrap"
set = ["train.lr=0.01"]
"""


@pytest.fixture
def write_grid(tmp_path: Path, mini_profile: Path) -> Callable[..., Path]:
    """Writes a grid over the mini profile."""

    def write(more: str = "", text: str = SMALL, name: str = "grid") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text.format(profile=mini_profile) + more)
        return path

    return write


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], dict[str, Any]]:
    """What a dry run of a grid says, on a machine whose speed is given."""

    def run(grid: Path) -> dict[str, Any]:
        monkeypatch.setattr("geotrap_cli.training.estimate.measure_rate", lambda *_: 1e9)
        assert main(["bench", str(grid), "--dry-run", "--json"]) == 0
        planned: dict[str, Any] = json.loads(capsys.readouterr().out)
        return planned

    return run


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Runs a grid that is interrupted as the job of a name begins."""

    def run(grid: Path, name: str) -> None:
        original = crew.perform

        def stops(job: Job) -> Outcome:
            if job.name == name:
                raise KeyboardInterrupt
            return original(job)

        with monkeypatch.context() as patch:
            patch.setattr(crew, "perform", stops)
            assert main(["bench", str(grid)]) == 130

    return run


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """Makes a job of which nothing but its name and what it waits for matters."""
    loaded = load_profile("pos_opacity", env={})

    def make(name: str, attack: str | None = "lora", **fields: Any) -> Job:
        defense = fields.pop("defense", "geotrap")
        entry = ("nano", defense)
        return Job(name, entry, fields.pop("seed", 0), attack, defense, loaded, CommonOptions(), **fields)

    return make
