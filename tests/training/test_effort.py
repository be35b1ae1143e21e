"""What a training costs: passes counted where they happen, kept over interruptions, and bounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.__main__ import main
from geotrap_cli.profile.schema import DefenseTable
from geotrap_cli.training.effort import EffortMeter


def meter(folder: Path, **budget: Any) -> EffortMeter:
    return EffortMeter(DefenseTable(**budget), 2, folder)


def images(objects: int) -> torch.Tensor:
    return torch.zeros(objects, 4, 9, 16, 16)


def test_passes_are_counted_in_objects(micro: Any, tmp_path: Path) -> None:
    counting = meter(tmp_path)
    with counting.watching(micro):
        micro(images(3))
        micro(images(2)).sum().backward()
        with torch.no_grad():
            micro(images(1))
    micro(images(5)).sum().backward()
    assert (counting.so_far.forward, counting.so_far.backward) == (6, 2)
    assert counting.so_far.gradient_evaluations(2) == 1.0


def test_a_gradient_counts_whatever_it_starts_from_and_only_if_it_comes_through(micro: Any, tmp_path: Path) -> None:
    counting, seen = meter(tmp_path), []
    handle = micro.unet.conv_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with counting.watching(micro):
        raw = micro(images(2))
        torch.autograd.grad(raw.sum(), seen[0], retain_graph=True)
        assert counting.so_far.backward == 0
        seen[0].sum().backward()
    handle.remove()
    assert counting.so_far.backward == 2


def test_a_frozen_beginning_does_not_hide_a_gradient(micro: Any, tmp_path: Path) -> None:
    micro.requires_grad_(False).unet.mid_block.requires_grad_(True)
    counting = meter(tmp_path)
    with counting.watching(micro):
        micro(images(2)).sum().backward()
    assert counting.so_far.backward == 2


def test_it_goes_on_from_a_checkpoint(micro: Any, tmp_path: Path) -> None:
    first = meter(tmp_path)
    with first.watching(micro):
        micro(images(2)).sum().backward()
    first.finished_step(1)
    first.write(tmp_path)
    second = meter(tmp_path)
    assert (second.so_far.steps, second.so_far.forward, second.so_far.backward) == (1, 2, 2)
    assert second.so_far.seconds > 0


def test_the_budget_is_decided_once_a_step(micro: Any, tmp_path: Path) -> None:
    counting = meter(tmp_path, max_gradient_evaluations=2)
    with counting.watching(micro):
        for step, spent in ((1, None), (2, "max_gradient_evaluations")):
            micro(images(2)).sum().backward()
            before = counting.spent
            counting.finished_step(step)
            assert (before, counting.spent) == (None, spent)
    assert meter(tmp_path, max_seconds=1e-9).spent == "max_seconds"
    assert meter(tmp_path, max_seconds=1e9).spent is None


class TestRuns:
    @pytest.fixture
    def train(self, mini_profile: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
        def run(*settings: str) -> dict[str, Any]:
            words = [word for setting in settings for word in ("--set", setting)]
            assert main(["train", "--quiet", "--profile", str(mini_profile), "--defense", "grad_diff", *words]) == 0
            (folder,) = (tmp_path / "runs").iterdir()
            rows = (folder / "metrics.jsonl").read_text().splitlines()
            summary = json.loads((folder / "summary.json").read_text())
            return {**summary, "rows": len(rows)}

        return run

    def test_a_run_ends_when_its_budget_is_spent(self, train: Callable[..., dict[str, Any]]) -> None:
        summary = train("defense.max_gradient_evaluations=5", "train.log_every=100")
        assert (summary["steps"], summary["gradient_evaluations"]) == (3, 6.0)
        assert summary["stopped_by"] == "max_gradient_evaluations"
        assert (summary["defense"], summary["rows"]) == ("grad_diff", 1)
        assert summary["seconds"] > 0

    def test_without_traps_a_defense_is_measured_without_depths(self, train: Callable[..., dict[str, Any]]) -> None:
        summary = train("train.steps=1", "traps.position=false", "traps.opacity=false")
        assert (summary["depths"], summary["stopped_by"]) == ([], None)
        assert summary["shortcut"]["gradient_defended"] is None
        assert summary["shortcut"]["weight_change"] is not None
