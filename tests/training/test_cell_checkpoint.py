"""A killed attack goes on within its cell, and ends as if nobody had killed it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_attacks._wrapped import WrappedAttack, base_attack
from geotrap_attacks.desaturate import DesaturateAttack, DesaturateConfig
from geotrap_attacks.kick_settle import KickSettleAttack, KickSettleConfig
from geotrap_attacks.long_budget import EarlyStopped, LongBudgetConfig
from geotrap_attacks.merge import MergeAttack, MergeConfig
from geotrap_attacks.optimizer_sweep import OptimizedAttack
from rich.console import Console

from geotrap_cli.attacks import Attack
from geotrap_cli.evaluation.cells import Cell, strict_json
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.cell_checkpoint import CELL, CellCheckpoint

STEPS, KILLED_AFTER, EVERY = 6, 5, 2

Start = Callable[..., CellRunner]


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing is tidied up."""


@pytest.fixture
def start(open_mini: Callable[..., Any], tmp_path: Path) -> Start:
    def make(attack: Attack, checkpoint: bool = True, key: str = "key", log: Any = lambda _: None) -> CellRunner:
        sets = (f"attack.steps={STEPS}", "attack.evaluations=3", "eval.objects=1", "eval.views=1")
        opened = open_mini(*sets)
        place = CellCheckpoint(tmp_path / "checkpoints" / "cell", key, EVERY) if checkpoint else None
        return CellRunner(opened.bench, "m", "family", "undefended", attack, opened.model, log=log, checkpoint=place)

    return make


def run(runner: CellRunner) -> Cell:
    return runner.run(Console(file=io.StringIO()), quiet=True)


def kill(runner: CellRunner, step: int = KILLED_AFTER) -> None:
    after_step = runner.attack.after_step

    def dies(model: LGM, at: int) -> None:
        after_step(model, at)
        if at == step:
            raise Killed

    runner.attack.after_step = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        run(runner)


def outcome(runner: CellRunner, cell: Cell) -> tuple[Any, ...]:
    """Everything but the clock and the memory."""
    assert cell.usage is not None
    weights = {name: value.detach().clone() for name, value in runner.model.state_dict().items()}
    return (
        (
            strict_json(dataclasses.asdict(dataclasses.replace(cell, seconds=0.0, usage=None))),
            cell.usage.samples,
            cell.usage.rendered_pixels,
        ),
        weights,
        runner.pictures,
        runner.truth,
        runner.gaussians.tensors,
    )


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


ATTACKS: dict[str, Callable[[], Attack]] = {
    "full": lambda: base_attack("full", lr=1e-3),
    "lora": lambda: base_attack("lora", rank=2),
    "schedule_free": lambda: OptimizedAttack(base_attack("full"), "schedule_free", 1.0),
    "long_budget": lambda: EarlyStopped(
        base_attack("full", lr=1e-3), LongBudgetConfig(factor=1, validate_every=2, patience=2)
    ),
    "ema": lambda: MergeAttack(MergeConfig(averages=("ema",))).variants()["merge-ema"],
    "soup": lambda: MergeAttack(MergeConfig(averages=("soup",))).variants()["merge-soup"],
    "desaturate": lambda: DesaturateAttack(DesaturateConfig()).variants()["desaturate-soften"],
    "two_phases": lambda: KickSettleAttack(KickSettleConfig(kick_steps=2)).variants()["kick_settle-rate-10"],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_killed_cell_ends_bit_equal(start: Start, name: str) -> None:
    whole = start(ATTACKS[name](), checkpoint=False)
    expected = outcome(whole, run(whole))
    kill(start(ATTACKS[name]()))
    lines: list[dict[str, Any]] = []
    resumed = start(ATTACKS[name](), log=lines.append)
    found = outcome(resumed, run(resumed))
    assert found[0] == expected[0]
    assert all(same(*pair) for pair in zip(found[1:], expected[1:], strict=True))
    steps = [line["step"] for line in lines if "step" in line]
    assert steps == list(range(KILLED_AFTER - KILLED_AFTER % EVERY + 1, STEPS + 1))


def test_an_attack_that_meant_to_stop_takes_no_further_step(start: Start) -> None:
    def early() -> Attack:
        class Worse(EarlyStopped):
            calls = 0

            def validation_loss(self, model: LGM) -> float:
                self.calls += 1
                return float(self.calls)

        return Worse(base_attack("full"), LongBudgetConfig(factor=1, validate_every=2, patience=1))

    whole = start(early(), checkpoint=False)
    expected = outcome(whole, run(whole))
    killed = start(early())
    killed.attack.finish = lambda _: (_ for _ in ()).throw(Killed)  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        run(killed)
    resumed = start(early())
    assert outcome(resumed, run(resumed))[0] == expected[0]


def test_a_checkpoint_of_another_cell_is_none(start: Start) -> None:
    kill(start(base_attack("full"), key="one"))
    lines: list[dict[str, Any]] = []
    other = start(base_attack("full"), key="other", log=lines.append)
    run(other)
    assert lines[0]["step"] == 1


def test_an_attack_that_hides_what_it_remembers_starts_over(start: Start, tmp_path: Path) -> None:
    class Hiding(Attack):
        key = "hiding"

        def after_step(self, model: LGM, step: int) -> None:
            self.seen = step

    assert not Hiding().resumable
    assert not WrappedAttack(Hiding()).resumable
    assert Attack().resumable and WrappedAttack(Attack()).resumable
    kill(start(Hiding()))
    assert not (tmp_path / "checkpoints" / "cell" / CELL).exists()


def test_seconds_add_up(start: Start) -> None:
    kill(start(base_attack("full")))
    resumed = start(base_attack("full"))
    assert resumed.checkpoint is not None
    earlier = resumed.checkpoint.read()
    assert earlier is not None
    assert run(resumed).seconds > earlier.seconds > 0
