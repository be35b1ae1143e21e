"""One cell: the order in which an attack is asked, what is measured when, and that both subjects get the same."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_attacks._wrapped import base_attack
from geotrap_attacks.long_budget import EarlyStopped, LongBudgetConfig
from rich.console import Console
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig, AttackContext, Phase
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.cell_pictures import picture_steps, small_view


class Recording(Attack):
    """Notes every call, edits the head, and trains it in two phases."""

    key = "recording"

    def __init__(self, config: AttackConfig | None = None) -> None:
        super().__init__(config)
        self.calls: list[str] = []
        self.batches: list[list[str]] = []

    def phases(self, steps: int) -> tuple[Phase, ...]:
        return (Phase("heal", 1, "source"), Phase("target", steps))

    def edit(self, model: LGM, context: AttackContext) -> None:
        self.calls.append(f"edit {context.steps}")
        with torch.no_grad():
            model.get_parameter("conv.weight").add_(0.5)

    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        self.calls.append("prepare")
        return super().prepare(model)

    def gaussians(self, batch: GaussianBatch) -> GaussianBatch:
        self.calls.append("gaussians")
        return super().gaussians(batch)

    def extra_terms(self, gaussians: GaussianBatch, batch: Any) -> dict[str, torch.Tensor]:
        self.batches.append(batch.ids)
        return {"extra": gaussians.means.square().mean()}

    def after_step(self, model: LGM, step: int) -> None:
        self.calls.append(f"after {step}")

    @contextlib.contextmanager
    def as_released(self, model: LGM) -> Iterator[None]:
        self.calls.append("released")
        yield

    def finish(self, model: LGM) -> None:
        self.calls.append("finish")
        with torch.no_grad():
            model.get_parameter("conv.weight").zero_()


class Stopping(Attack):
    key = "stopping"
    done = 0

    def after_step(self, model: LGM, step: int) -> None:
        self.done = step

    def stopped(self) -> bool:
        return self.done == 3


class Dark(Attack):
    """Its loss sees Gaussians that are not those of the model."""

    key = "dark"

    def gaussians(self, batch: GaussianBatch) -> GaussianBatch:
        return activate(batch.require_raw() - 50.0)


@pytest.fixture
def start(open_mini: Callable[..., Any]) -> Callable[..., CellRunner]:
    def make(attack: Attack, *overrides: str, subject: str = "undefended", method: str = "m", **options: Any) -> Any:
        opened = open_mini("eval.objects=1", "eval.views=1", *overrides)
        return CellRunner(opened.bench, method, "family", subject, attack, opened.model, **options)

    return make


def run(runner: CellRunner) -> Cell:
    return runner.run(Console(file=io.StringIO()), quiet=True)


def quality(cell: Cell) -> list[float]:
    return [sum(score.metrics[HEADLINE] for score in one.target) / len(one.target) for one in cell.evaluations]


class TestOrder:
    def test_every_hook_in_its_place(self, start: Callable[..., CellRunner]) -> None:
        runner = start(Recording(), "attack.steps=3", "attack.evaluations=2")
        cell = run(runner)
        attack = runner.attack
        assert isinstance(attack, Recording)
        step = ["gaussians", "after {}"]
        assert attack.calls == [
            "edit 4",
            "prepare",
            *(text.format(number) for number in (1, 2) for text in step),
            "released",
            *(text.format(number) for number in (3, 4) for text in step),
            "finish",
        ]
        assert (cell.steps, cell.family, cell.key) == (4, "family", "family")
        assert [one.step for one in cell.evaluations] == [0, 2, 4]

    def test_phases_choose_the_data(self, start: Callable[..., CellRunner]) -> None:
        runner = start(Recording(), "attack.steps=2")
        run(runner)
        splits = runner.bench.splits
        first, *others = runner.attack.batches  # type: ignore[attr-defined]
        assert set(first) <= set(splits.source_train)
        assert all(set(batch) <= set(splits.attack_target) for batch in others)

    def test_the_first_measurement_is_before_the_edit_and_the_last_after_the_end(
        self, start: Callable[..., CellRunner]
    ) -> None:
        plain, recording = (quality(run(start(attack, "attack.steps=2"))) for attack in (Attack(), Recording()))
        assert recording[0] == plain[0]
        # finish() blanked the head: grey blobs, whatever was learned.
        assert recording[-1] != pytest.approx(recording[1], abs=1e-3)

    def test_geometry_is_that_of_the_scored_objects_at_both_ends(self, start: Callable[..., CellRunner]) -> None:
        runner = start(Recording(), "attack.steps=3", "attack.evaluations=2")
        first, between, last = run(runner).evaluations
        assert between.geometry is None
        assert first.geometry is not None
        assert last.geometry is not None
        assert first.geometry.objects == last.geometry.objects == [score.id for score in last.target]
        # The blank head that finish() left: all opacities one half, nothing culled.
        assert last.geometry.median("opacity") == pytest.approx(
            torch.sigmoid(runner.model.get_parameter("conv.bias")[3]).item()
        )
        assert first.geometry.median("opacity") != pytest.approx(last.geometry.median("opacity"))

    def test_the_attack_given_is_left_alone(self, start: Callable[..., CellRunner]) -> None:
        attack = Recording()
        run(start(attack, "attack.steps=1"))
        assert attack.calls == []

    def test_health_looks_at_the_true_gaussians(self, start: Callable[..., CellRunner]) -> None:
        honest, dark = (run(start(attack, "attack.steps=1")).health for attack in (Attack(), Dark()))
        assert honest is not None
        assert dark is not None
        assert honest.saturated_share == dark.saturated_share
        assert dark.zero_gradient_share > honest.zero_gradient_share  # type: ignore[operator]


class TestPictures:
    def test_a_tenth_of_the_attack_is_shown_and_not_measured(self, start: Callable[..., CellRunner]) -> None:
        runner = start(Attack(), "attack.steps=10", "attack.evaluations=2", "eval.views=2")
        cell = run(runner)
        assert [one.step for one in cell.evaluations] == [0, 5, 10]
        (name,) = runner.truth
        shapes = {step: runner.pictures[f"{name}@{step}"].shape for step in (0, 1, 5, 10)}
        assert len(runner.pictures) == len(shapes)
        # All views at both ends, the first one along the way.
        assert {step: shape[0] for step, shape in shapes.items()} == {0: 2, 1: 1, 5: 1, 10: 2}
        assert not torch.equal(runner.pictures[f"{name}@1"], runner.pictures[f"{name}@0"][:1])

    def test_showing_changes_nothing_that_is_measured(
        self, start: Callable[..., CellRunner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        overrides = ("attack.steps=10", "attack.evaluations=1")
        shown = quality(run(start(base_attack("lora"), *overrides)))
        monkeypatch.setattr("geotrap_cli.training.attack_cell.picture_steps", lambda _: frozenset())
        assert quality(run(start(base_attack("lora"), *overrides))) == shown

    def test_pictures_along_the_way_are_small(self) -> None:
        small = small_view(torch.rand(3, 512, 256, 3))
        assert small.shape == (1, 128, 64, 3)
        assert torch.equal(small_view(torch.ones(2, 16, 16, 3)), torch.ones(1, 16, 16, 3))
        assert small_view(torch.full((1, 300, 300, 3), 0.25)).allclose(torch.tensor(0.25))
        assert (picture_steps(9), picture_steps(240)) == (frozenset(), {24})


class TestPairing:
    @pytest.mark.parametrize("method", ["full", "lora"])
    def test_both_subjects_get_the_same_batches_and_start(self, start: Callable[..., CellRunner], method: Any) -> None:
        lines: dict[str, list[dict[str, Any]]] = {"undefended": [], "defended": []}
        cells = [
            run(start(base_attack(method), "train.log_every=1", subject=subject, log=rows.append))
            for subject, rows in lines.items()
        ]
        assert quality(cells[0]) == quality(cells[1])
        losses = [[row["total"] for row in rows] for rows in lines.values()]
        assert len(losses[0]) == 4
        assert losses[0] == losses[1]

    def test_what_an_edit_draws_does_not_move_the_adapters(self, start: Callable[..., CellRunner]) -> None:
        class Drawing(type(base_attack("lora"))):  # type: ignore[misc]
            def edit(self, model: LGM, context: AttackContext) -> None:
                torch.rand(7)

        drawing, plain = (start(attack, "attack.steps=1") for attack in (Drawing(), base_attack("lora")))
        assert quality(run(drawing)) == quality(run(plain))


class TestMetrics:
    def test_lines_of_a_cell(self, start: Callable[..., CellRunner]) -> None:
        rows: list[dict[str, Any]] = []
        run(start(Recording(), "attack.steps=4", "train.log_every=2", method="m-x", log=rows.append))
        assert [(row["cell"], row["step"], row["phase"]) for row in rows] == [
            ("m-x-undefended", 1, "heal"),
            ("m-x-undefended", 2, "target"),
            ("m-x-undefended", 4, "target"),
            ("m-x-undefended", 5, "target"),
        ]
        for row in rows:
            assert row["total"] == pytest.approx(row["rgb"] + row["alpha"] + row["extra"], rel=1e-4)
            assert row["lr"] >= 0


class TestStopping:
    def test_the_saved_steps_count_as_measured_with_the_last_weights(self, start: Callable[..., CellRunner]) -> None:
        cell = run(start(Stopping(), "attack.steps=8", "attack.evaluations=4"))
        assert [one.step for one in cell.evaluations] == [0, 2, 4, 6, 8]
        values = quality(cell)
        assert values[2] == values[3] == values[4] != values[1]
        assert [one.source is None for one in cell.evaluations] == [False, True, True, True, False]

    def early(self, lr: float, **options: Any) -> EarlyStopped:
        return EarlyStopped(base_attack("full", lr=lr, schedule="constant"), LongBudgetConfig(**options))

    def test_the_best_validated_step_is_what_remains(self, start: Callable[..., CellRunner]) -> None:
        losses: list[tuple[int, float, torch.Tensor]] = []

        class Watched(EarlyStopped):
            def validation_loss(self, model: LGM) -> float:
                # A valley at the second validation, whatever the model does.
                value = abs(len(losses) - 1.0)
                losses.append((len(losses), value, model.get_parameter("conv.weight").detach().clone()))
                return value

        attack = Watched(base_attack("full", lr=1e-2), LongBudgetConfig(factor=3, validate_every=2, patience=2))
        runner = start(attack, "attack.steps=4", "attack.evaluations=3")
        cell = run(runner)
        # 12 steps allowed; best at the second validation (step 4), and two without a new best end it at step 8.
        assert len(losses) == 4
        assert runner.attack.best_step == 4  # type: ignore[attr-defined]
        assert torch.equal(runner.model.get_parameter("conv.weight"), losses[1][2])
        assert [one.step for one in cell.evaluations] == [0, 4, 8, 12]
        assert (cell.steps, quality(cell)[1]) == (12, quality(cell)[3])

    def test_a_diverging_run_goes_back_to_where_it_was_good(self, start: Callable[..., CellRunner]) -> None:
        runner = start(self.early(0.3, factor=2, validate_every=1, patience=99), "attack.steps=4")
        run(runner)
        attack = runner.attack
        assert isinstance(attack, EarlyStopped)
        assert attack.validation_loss(runner.model) == pytest.approx(attack.best_loss)
        assert math.isfinite(attack.best_loss)

    def test_a_run_too_short_to_validate_ends_where_it_is(self, start: Callable[..., CellRunner]) -> None:
        config = {"factor": 1, "validate_every": 99}
        runner = start(self.early(1e-2, **config), "attack.steps=2")
        before = runner.model.get_parameter("conv.weight").detach().clone()
        run(runner)
        assert not torch.equal(runner.model.get_parameter("conv.weight"), before)


def test_a_diverged_attack_says_so_and_keeps_its_measurements(start: Callable[..., CellRunner], tmp_path: Path) -> None:
    cell = run(start(base_attack("full", lr=1e30, clip_norm=None), "attack.steps=4", "attack.evaluations=4"))
    assert cell.health is not None
    assert cell.health.nonfinite == 1
    assert cell.evaluations[-1].step < 4
