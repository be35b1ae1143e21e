"""Small grids, jobs without work, and results that follow given curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.bench.job import Job
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


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """Makes a job of which nothing but its name and what it waits for matters."""
    loaded = load_profile("pos_opacity", env={})

    def make(name: str, attack: str | None = "lora", **fields: Any) -> Job:
        defense = fields.pop("defense", "geotrap")
        entry = ("nano", defense)
        return Job(name, entry, fields.pop("seed", 0), attack, defense, loaded, CommonOptions(), **fields)

    return make
