"""The figures of one combination, from attacks whose quality is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.sweep import cell as module
from geotrap_cli.sweep.grid import Combination
from geotrap_cli.sweep.result import SweepRow

WHITE = 7.0
HEALTH = AttackHealth(zero_gradient_share=0.0, saturated_share=0.0, nonfinite=0, loss_decreased=True)


def make_cell(method: str, subject: str, target: list[float], source: float) -> Cell:
    def scores(quality: float) -> list[ObjectScore]:
        return [ObjectScore("a/0", "a/0", "a", {"foreground_psnr": quality, "white_foreground_psnr": WHITE})]

    evaluations = [
        CellEvaluation(step, scores(quality), scores(source) if step == 0 else None)
        for step, quality in enumerate(target)
    ]
    return Cell(method, subject, len(target) - 1, 0, evaluations, HEALTH, 1.0, 1, 0.1, 0.1)


PAIRS = {
    "lora": AttackPair(
        make_cell("lora", "undefended", [13.0, 15.0, 14.0], 20.0),
        make_cell("lora", "defended", [8.0, 10.0, 9.0], 19.5),
        Path("run"),
    ),
    "full": AttackPair(
        make_cell("full", "undefended", [13.0, 13.5, 14.0], 20.0),
        make_cell("full", "defended", [8.0, 12.0, 11.0], 19.5),
        Path("run"),
    ),
}


def row(monkeypatch: pytest.MonkeyPatch, tolerance: float = 1.0) -> SweepRow:
    monkeypatch.setattr(module, "read_pair", lambda _, method: PAIRS[method])
    profile: Any = SimpleNamespace(profile=SimpleNamespace(eval=SimpleNamespace(source_tolerance_db=tolerance)))
    train_run: Any = SimpleNamespace(path=Path("train"), summary=lambda: {"seconds": 3.0})
    attack_run: Any = SimpleNamespace(path=Path("run"), summary=lambda: {"methods": ["lora", "full"]})
    return module.make_row(Combination(("position",)), profile, train_run, attack_run)


def test_the_attack_that_comes_furthest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = row(monkeypatch)
    assert found.attack == "full"
    # White is 7 dB, and the best of the undefended weights 15 dB, under the other attack.
    assert found.recovery == pytest.approx((12.0 - 7.0) / (15.0 - 7.0))
    assert found.target_after == pytest.approx(12.0 - 15.0)


def test_what_the_defense_does_before_an_attack_is_defended_less_undefended(monkeypatch: pytest.MonkeyPatch) -> None:
    found = row(monkeypatch)
    assert found.target_before == pytest.approx(8.0 - 13.0)
    assert found.source_change == pytest.approx(19.5 - 20.0)
    assert found.seconds == 3.0


@pytest.mark.parametrize(("tolerance", "broken"), [(1.0, False), (0.4, True)])
def test_more_source_loss_than_tolerated_is_broken(
    monkeypatch: pytest.MonkeyPatch, tolerance: float, broken: bool
) -> None:
    assert row(monkeypatch, tolerance).source_broken is broken
