"""``geotrap train`` with the sensitivity term: what it logs, and that resuming changes no bit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.training import defense_objective

WEIGHTS = "model/diffusion_pytorch_model.safetensors"
SETTINGS = (
    "train.steps=4",
    "train.batch_size=1",
    "eval.objects=1",
    "traps.position.dynamic={eta=-0.5, every=2}",
    "traps.opacity.dynamic={eta=0.5, every=3, layers='unet.conv_in,unet.mid_block.nets.0'}",
)


@pytest.fixture
def train(mini_profile: Path, tmp_path: Path) -> Callable[[str], int]:
    """Trains into a folder of its own below ``tmp_path``."""
    chosen = [word for setting in SETTINGS for word in ("--set", setting)]
    return lambda name: main(["train", "--profile", str(mini_profile), "--runs", str(tmp_path / name), *chosen])


def rows(run: Path) -> list[dict[str, float]]:
    """The metrics without the one that is about time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_the_term_is_logged_and_resuming_draws_the_same_probes(
    train: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("whole") == 0
    assert "position_dynamic " in capsys.readouterr().err
    (whole,) = (tmp_path / "whole").iterdir()
    assert [sorted(name for name in row if name.endswith("_dynamic")) for row in rows(whole)] == [
        [],
        ["position_dynamic"],
        ["opacity_dynamic"],
        ["position_dynamic"],
    ]
    call = defense_objective.DefenseObjective.__call__

    def press(self: Any, step: int) -> Any:
        if step == 1:
            signal.raise_signal(signal.SIGINT)
        return call(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(defense_objective.DefenseObjective, "__call__", press)
        assert train("halved") == 130
    (halved,) = (tmp_path / "halved").iterdir()
    assert len(rows(halved)) == 2
    assert main(["train", "--quiet", "--resume", str(halved)]) == 0
    assert rows(halved) == rows(whole)
    assert (halved / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
