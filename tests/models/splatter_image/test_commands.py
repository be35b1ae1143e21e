"""A second family of generators through the commands, unchanged: train, attack, analyze, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_attacks.head_only import HeadOnlyAttack
from geotrap_attacks.layer_subset import LayerSubsetAttack
from geotrap_attacks.lora_targets import LoraTargetsAttack
from geotrap_traps.dead_zone import DeadZoneConfig, DeadZoneTrap
from torch import Tensor

from geotrap_cli.__main__ import main
from geotrap_cli.attacks import Attack
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.saturation import saturated
from geotrap_cli.models.loading import load_generator, save_generator
from geotrap_cli.models.splatter_image.model import SplatterImage
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.attack_plan import left_out, plan_attacks
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.workbench import open_model, open_workbench

CPU = torch.device("cpu")


@pytest.fixture
def weights(miniature: SplatterImage, tmp_path: Path) -> str:
    save_generator(miniature, tmp_path / "weights")
    return str(tmp_path / "weights")


@pytest.fixture
def run(weights: str, mini_profile: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def go(command: str, *arguments: str) -> Any:
        options = ["--json", "--profile", str(mini_profile), "--set", f"model.weights={weights}"]
        options += ["--set", "eval.objects=1", "--set", "eval.views=1", "--set", "eval.bootstrap=10"]
        code = main([command, *options, *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return go


@pytest.mark.slow
def test_train_attack_and_analyze_run_as_they_do_on_lgm(run: Callable[..., Any]) -> None:
    trained = run("train", "--set", "train.steps=1")
    defended = load_generator("nano", str(Path(trained["run"]) / "model"))
    assert type(defended) is SplatterImage
    run("attack", "--lora", "--set", "attack.steps=1", "--set", "attack.lora.rank=1")
    analysed = run("analyze-layers", "--samples", "1", "--traps", "opacity")
    units = {row["unit"] for row in analysed["units"]} if "units" in analysed else set()
    assert not units or units == set(defended.units())


def test_one_view_goes_in_and_the_folder_brings_its_family(
    load_mini: Callable[..., LoadedProfile], weights: str
) -> None:
    profile = load_mini(f"model.weights={weights}").profile
    model = open_model(profile, CPU)
    bench = open_workbench(profile, CPU, model)
    batch = bench.sampler(bench.splits.source_train, 1, 0).batch(0, 2)
    assert batch.images.shape == (2, 1, 9, 16, 16) and batch.input_cameras.viewmats.shape == (2, 1, 4, 4)
    assert model.forward_gaussians(batch.images).means.shape == (2, 256, 3)
    with pytest.raises(UsageError, match=r"model\.preset is tiny"):
        open_model(load_mini(f"model.weights={weights}", "model.preset=tiny").profile, CPU)


def test_attacks_on_a_head_that_is_not_there_are_left_out_with_the_reason(
    load_mini: Callable[..., LoadedProfile], weights: str
) -> None:
    profile = load_mini(f"model.weights={weights}", "attack.methods=lora,head_refit,desaturate").profile
    assert left_out(profile).keys() == {"head_refit", "desaturate"}
    with pytest.raises(UsageError, match="splatter_image has no head whose output is the raw channels"):
        plan_attacks(profile)


@pytest.mark.parametrize("attack", [HeadOnlyAttack, LayerSubsetAttack, LoraTargetsAttack])
def test_attacks_on_parts_find_their_part(attack: type[Attack], miniature: SplatterImage) -> None:
    for name, variant in attack().variants().items():
        if not name.endswith(("sensitive", "units")):
            torch.manual_seed(0)
            trained = variant.prepare(type(miniature).from_config(miniature.config))
            assert trained, name


def test_freezing_the_head_and_the_dead_zone_follow_the_generator(miniature: SplatterImage, images: Tensor) -> None:
    chosen = select_parameters(miniature, (), freeze_head=True)
    assert not any("aux_conv" in name or ".out." in name for name in chosen)
    batch = miniature.forward_gaussians(images)
    assert not bool(saturated(batch)["position"].any())
    DeadZoneTrap(DeadZoneConfig(parts=("opacity",))).loss(batch)
    with pytest.raises(UsageError, match="no dead zone for 'position'"):
        DeadZoneTrap(DeadZoneConfig(parts=("position",))).loss(batch)
