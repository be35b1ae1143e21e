from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.training import loop
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.loop import LoopHooks, LoopSettings, gradient_norm, optimise, set_learning_rate
from geotrap_cli.training.schedules import make_schedule


class Problem:
    """Pulls three numbers towards targets that depend on the step alone."""

    def __init__(self, folder: Path | None = None, **settings: Any) -> None:
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        self.optimizer = torch.optim.AdamW([self.weight], lr=0.1)
        self.steps: list[int] = []
        self.seen: list[tuple[int, dict[str, float]]] = []
        self.settings = LoopSettings(**({"steps": 6} | settings))
        self.checkpointer = Checkpointer(folder / "last", {"weight": self.weight}, self.optimizer) if folder else None
        self.disturb: Callable[[int, torch.Tensor], torch.Tensor] = lambda _, loss: loss

    def objective(self, step: int) -> dict[str, torch.Tensor]:
        self.steps.append(step)
        target = torch.randn(3, generator=torch.Generator().manual_seed(step))
        loss = (self.weight - target).square().sum()
        return {"pull": loss.detach(), "total": self.disturb(step, loss)}

    def run(self, schedule: str = "linear", **hooks: Any) -> torch.Tensor:
        told = {"on_step": lambda step, metrics: self.seen.append((step, metrics))} | hooks
        factor = make_schedule(schedule, self.settings.steps, 0)
        optimise(
            self.objective,
            [self.weight],
            self.optimizer,
            factor,
            self.settings,
            LoopHooks(**told),
            self.checkpointer,
        )
        return self.weight.detach().clone()


def test_it_is_plain_gradient_descent() -> None:
    problem = Problem(steps=3)
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 3)
        optimizer.zero_grad()
        target = torch.randn(3, generator=torch.Generator().manual_seed(step))
        (weight - target).square().sum().backward()
        optimizer.step()
    assert torch.equal(problem.run(), weight)


def test_metrics_of_every_step() -> None:
    problem = Problem(steps=4)
    problem.run()
    assert problem.steps == [0, 1, 2, 3]
    assert [step for step, _ in problem.seen] == [1, 2, 3, 4]
    metrics = problem.seen[1][1]
    assert set(metrics) == {"pull", "total", "gradient_norm", "lr", "seconds"}
    assert metrics["lr"] == pytest.approx(0.1 * 0.75)
    # The gradient of a sum of squares: its norm is twice the root of the loss.
    assert metrics["gradient_norm"] == pytest.approx(2 * metrics["pull"] ** 0.5, rel=1e-5)


def test_clipping_scales_the_gradient_and_reports_its_length_before() -> None:
    tensors = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    for tensor, gradient in zip(tensors, ([3.0, 0.0], [4.0]), strict=True):
        tensor.grad = torch.tensor(gradient)
    assert gradient_norm(tensors, None) == pytest.approx(5.0)
    assert gradient_norm(tensors, 10.0) == pytest.approx(5.0)
    assert tensors[1].grad.tolist() == [4.0]
    assert gradient_norm(tensors, 1.0) == pytest.approx(5.0)
    assert tensors[0].grad[0].item() == pytest.approx(0.6, rel=1e-5)


def test_clip_norm_acts() -> None:
    def moved(clip: float | None) -> float:
        problem = Problem(steps=1, clip_norm=clip)
        problem.optimizer = torch.optim.SGD([problem.weight], lr=1.0)
        before = problem.weight.detach().clone()
        return float((problem.run("constant") - before).norm())

    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(None) > 1.0


def test_learning_rate_is_always_relative_to_the_first() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    for factor, expected in ((0.5, 1.0), (0.25, 0.5), (1.0, 2.0)):
        set_learning_rate(optimizer, factor)
        assert optimizer.param_groups[0]["lr"] == expected


def test_gradients_are_shown_unclipped() -> None:
    shown: list[float] = []
    problem = Problem(steps=2, clip_norm=1e-3)
    problem.run(on_gradient=lambda _: shown.append(float(problem.weight.grad.norm())))
    assert shown == pytest.approx([metrics["gradient_norm"] for _, metrics in problem.seen])
    assert min(shown) > 1e-3


def test_evaluations_come_when_asked_for() -> None:
    evaluated: list[int] = []
    Problem(steps=5, evaluate_at=frozenset({2, 5, 9})).run(on_evaluate=evaluated.append)
    assert evaluated == [2, 5]


def test_checkpoints_come_at_intervals_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    problem = Problem(tmp_path, steps=5, checkpoint_every=2)
    monkeypatch.setattr(problem.checkpointer, "save", saved.append)
    problem.run()
    assert saved == [2, 4, 5]


@pytest.mark.parametrize("died_after", [2, 3, 5])
def test_going_on_from_a_checkpoint_changes_no_bit(tmp_path: Path, died_after: int) -> None:
    straight = Problem(steps=6).run()
    first = Problem(tmp_path, steps=6, checkpoint_every=2)

    def die(step: int, metrics: dict[str, float]) -> None:
        if step == died_after:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        first.run(on_step=die)
    second = Problem(tmp_path, steps=6, checkpoint_every=2)
    assert torch.equal(second.run(), straight)
    assert second.steps[0] == (died_after - 1) // 2 * 2


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    done = Problem(tmp_path, steps=4, checkpoint_every=2).run()
    again = Problem(tmp_path, steps=4, checkpoint_every=2)
    assert torch.equal(again.run(), done)
    assert again.steps == []


class TestNotFinite:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_loss_is_named_with_its_step_and_changes_nothing(self, tmp_path: Path, value: float) -> None:
        problem = Problem(tmp_path, steps=6, checkpoint_every=2)
        problem.disturb = lambda step, loss: loss * value if step == 4 else loss
        with pytest.raises(NonFiniteError, match=f"total is {value} at step 5"):
            problem.run()
        assert [step for step, _ in problem.seen] == [1, 2, 3, 4]
        resumed = Problem(tmp_path, steps=6, checkpoint_every=2)
        assert resumed.checkpointer is not None
        assert resumed.checkpointer.restore() == 4
        assert torch.equal(resumed.weight, problem.weight)

    def test_a_gradient(self) -> None:
        problem = Problem(steps=3)
        # The square root has an infinite slope at zero: the loss is finite, its gradient is not.
        problem.disturb = lambda step, loss: loss + (problem.weight[0] * 0).sqrt() if step == 1 else loss
        with pytest.raises(NonFiniteError, match="the gradient is not finite at step 2"):
            problem.run()
        assert torch.isfinite(problem.weight).all()

    def test_a_term_that_is_no_part_of_the_total(self) -> None:
        problem = Problem(steps=3)
        objective = problem.objective
        problem.objective = lambda step: objective(step) | {"aside": torch.tensor(float("nan"))}  # type: ignore[method-assign]
        with pytest.raises(NonFiniteError, match="aside is nan at step 1"):
            problem.run()


class TestInterrupt:
    def test_the_step_is_finished_and_kept(self, tmp_path: Path) -> None:
        straight = Problem(steps=6).run()
        first = Problem(tmp_path, steps=6, checkpoint_every=100)

        def press(step: int, metrics: dict[str, float]) -> None:
            if step == 3:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            first.run(on_step=press)
        second = Problem(tmp_path, steps=6, checkpoint_every=100)
        assert torch.equal(second.run(), straight)
        assert second.steps == [3, 4, 5]

    def test_a_signal_between_looking_and_leaving_waits_for_the_next_checkpoint(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Late:
            """A signal arrives right after the loop first looked."""

            looks = 0

            def __enter__(self) -> Late:
                return self

            def __exit__(self, *error: object) -> None:
                pass

            @property
            def requested(self) -> bool:
                self.looks += 1
                return self.looks > 1

        monkeypatch.setattr(loop, "InterruptGuard", Late)
        problem = Problem(tmp_path, steps=6, checkpoint_every=100)
        with pytest.raises(KeyboardInterrupt):
            problem.run()
        resumed = Problem(tmp_path)
        assert resumed.checkpointer is not None
        assert resumed.checkpointer.restore() == len(problem.seen)

    def test_without_checkpoints_it_just_ends(self) -> None:
        problem = Problem(steps=6)
        with pytest.raises(KeyboardInterrupt):
            problem.run(on_step=lambda *_: signal.raise_signal(signal.SIGTERM))
        assert problem.steps == [0]
