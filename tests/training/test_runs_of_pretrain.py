"""``geotrap pretrain`` as a whole: objective, moving average and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from geotrap_cli.__main__ import main
from geotrap_cli.models.loading import WeightsSource
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training import pretrain
from geotrap_cli.training.pretrain import PretrainObjective

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def small_random(make_micro: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are those of the tiny generator: pretraining always begins from a preset."""

    def load(source: WeightsSource, *rest: Any) -> Any:
        assert source.weights == "random"
        return make_micro(torch.initial_seed())

    monkeypatch.setattr(WeightsSource, "load", load)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def run_pretrain(root: Path, profile: Path, *arguments: str) -> tuple[int, Path]:
    code = main(["pretrain", "--quiet", "--runs", str(root), "--profile", str(profile), *arguments])
    return code, next(iter(root.iterdir()))


def test_a_run_and_its_continuation(
    small_random: None,
    make_micro: Callable[..., Any],
    mini_profile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, whole = run_pretrain(tmp_path / "whole", mini_profile)
    assert code == 0
    logged = rows(whole)
    assert [row["step"] for row in logged if "total" in row] == list(range(1, 8))
    assert [row["step"] for row in logged if "source_eval" in row] == [4]
    assert logged[-1]["total"] < logged[0]["total"]
    summary = RunFolder(whole).summary()
    assert summary["scores"]["foreground_psnr"] > 0
    # Seven steps of two objects with two views each; the evaluation on the way renders as well.
    assert summary["cost"]["samples"] == 14
    assert summary["cost"]["rendered_pixels"] >= 7 * 2 * 2 * 16**2

    # What is released is the average, which is not the last step.
    saved = load_file(whole / "checkpoints" / "last" / "parameters.safetensors")
    released = load_file(whole / "model" / WEIGHTS)
    assert all(torch.equal(released[name], saved[f"ema.{name}"]) for name in released)
    assert not all(torch.equal(released[name], saved[name]) for name in released)
    first = make_micro(0).state_dict()
    assert not any(torch.equal(released[name], first[name]) for name in released)

    call = PretrainObjective.__call__

    def cut(self: Any, step: int) -> Any:
        if step == 5:
            raise OSError("power cut")
        return call(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainObjective, "__call__", cut)
        code, halted = run_pretrain(tmp_path / "halted", mini_profile)
    assert code == 1
    assert main(["pretrain", "--quiet", "--runs", str(tmp_path / "halted"), "--resume"]) == 0
    assert (halted / "model" / WEIGHTS).read_bytes() == (whole / "model" / WEIGHTS).read_bytes()
    assert [row["step"] for row in rows(halted)] == [row["step"] for row in rows(whole)]


def test_target_and_benign_are_never_seen(open_mini: Callable[..., Any]) -> None:
    opened = open_mini()
    objective = PretrainObjective(opened.bench, opened.model)
    for sampler in (objective.warm, objective.plain):
        assert set(sampler.ids) == set(opened.bench.splits.source_train)


def test_the_warm_up_fades_out(open_mini: Callable[..., Any]) -> None:
    opened = open_mini("train.steps=10", "pretrain.surface_fraction=0.4", "pretrain.surface_weight=2.0")
    objective = PretrainObjective(opened.bench, opened.model)
    terms = [objective(step) for step in (0, 2, 4)]
    assert [{"surface_means", "surface_opacity"} <= term.keys() for term in terms] == [True, True, False]
    for term in terms:
        assert term["total"].item() == pytest.approx(
            sum(value.item() for name, value in term.items() if name != "total"), rel=1e-5
        )
    unit = PretrainObjective(open_mini("train.steps=10", "pretrain.surface_fraction=0.4").bench, opened.model)(0)
    assert terms[0]["surface_means"].item() == pytest.approx(2 * unit["surface_means"].item(), rel=1e-5)


def test_rendering_begins_late_but_no_step_is_without_a_loss(open_mini: Callable[..., Any]) -> None:
    opened = open_mini("train.steps=10", "pretrain.surface_fraction=0.2", "pretrain.rendering_from=0.5")
    objective = PretrainObjective(opened.bench, opened.model)
    assert ["rgb" in objective(step) for step in (0, 1, 2, 5)] == [False, False, True, True]
    opened = open_mini("train.steps=10", "pretrain.surface_floor=0.1", "pretrain.rendering_from=0.5")
    objective = PretrainObjective(opened.bench, opened.model)
    assert ["rgb" in objective(step) for step in (0, 4, 5, 9)] == [False, False, True, True]
    assert all("surface_means" in objective(step) for step in (0, 4, 5, 9))


def test_muon_moves_inner_matrices_and_adamw_the_rest(open_mini: Callable[..., Any]) -> None:
    opened = open_mini("pretrain.optimizer=muon", "pretrain.matrix_lr=0.5", "train.lr=0.25")
    others, matrices = pretrain._optimizer(opened.bench, opened.model).param_groups
    names = {id(value): name for name, value in opened.model.named_parameters()}
    moved = {names[id(value)] for value in matrices["params"]}
    assert (matrices["lr"], others["lr"]) == (0.5, 0.25)
    assert "unet.mid_block.nets.0.conv1.weight" in moved
    assert not any(name.startswith(("unet.conv_in.", "unet.conv_out.", "conv.")) for name in moved)
    assert len(matrices["params"]) + len(others["params"]) == len(names)


def test_no_warm_up_without_its_weight_or_without_surfaces(
    open_mini: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_mini("pretrain.surface_weight=0.0")
    assert PretrainObjective(opened.bench, opened.model)(0).keys() == {"rgb", "alpha", "total"}


def test_supervised_views_and_dssim_act(open_mini: Callable[..., Any]) -> None:
    opened = open_mini("train.supervised_views=3", "loss.perceptual=dssim", "pretrain.surface_weight=0.0")
    objective = PretrainObjective(opened.bench, opened.model)
    assert objective.plain.batch(0, 2).rgb.shape[1] == 3
    assert objective(0)["perceptual"].item() > 0


def test_evaluations_come_at_intervals_but_not_at_the_end(open_mini: Callable[..., Any]) -> None:
    assert pretrain._evaluations(open_mini("train.steps=12").bench) == {4, 8}
