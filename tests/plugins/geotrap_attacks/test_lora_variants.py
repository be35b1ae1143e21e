"""Ranks, targets, starts and DoRA: what each changes about LoRA, and that PEFT can read what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_attacks._principal import orthonormal_factors, principal_factors
from geotrap_attacks.dora import DoraAttack
from geotrap_attacks.lora import LoraAttack, LoraConfig
from geotrap_attacks.lora_conv import LoraConvAttack
from geotrap_attacks.lora_init import LoraInitAttack, LoraInitConfig
from geotrap_attacks.lora_rank import LoraRankAttack, LoraRankConfig
from geotrap_attacks.lora_targets import LoraTargetsAttack
from pydantic import ValidationError
from torch import Tensor, nn

from geotrap_cli.attacks import Attack
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator

Make = Callable[..., LGM]
Tune = Callable[..., None]


def prepare(attack: Attack, model: LGM) -> dict[str, nn.Parameter]:
    torch.manual_seed(7)
    return attack.prepare(model)


def starts(*names: Any, rank: int = 4) -> dict[str, Attack]:
    return LoraInitAttack(LoraInitConfig(starts=names, ranks=(rank,), alpha=8.0)).variants()


def ends(layer: nn.Module) -> int:
    """Numbers that a rank of an adapter on ``layer`` adds: in + out, where a convolution's in is its whole window."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0] + weight[0].numel()


def test_a_rank_adds_in_plus_out_numbers_for_every_layer(make_micro: Make) -> None:
    layers = [m for n, m in make_micro().named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and n != "conv"]
    variants = LoraRankAttack(LoraRankConfig(ranks=(2, 3, 8))).variants()
    assert list(variants) == ["lora_rank-2", "lora_rank-3", "lora_rank-8"]
    for rank, attack in zip((2, 3, 8), variants.values(), strict=True):
        trained = prepare(attack, make_micro())
        assert sum(value.numel() for value in trained.values()) == rank * sum(map(ends, layers))


def test_ranks_share_scale_and_options() -> None:
    variants = LoraRankAttack(LoraRankConfig(ranks=(2, 8), scale=3.0, lr=5e-4, warmup_steps=4)).variants()
    for attack in variants.values():
        assert isinstance(attack, LoraAttack)
        assert attack.config.alpha == 3.0 * attack.config.rank
        assert (attack.config.lr, attack.config.warmup_steps) == (5e-4, 4)


@pytest.mark.parametrize("ranks", [(4, 4), (0,), ()])
def test_ranks_that_make_no_sweep_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        LoraRankConfig(ranks=ranks)


def test_targets_split_all_layers_into_attention_and_convolutions(make_micro: Make) -> None:
    variants = LoraTargetsAttack().variants()
    names = {group: set(prepare(attack, make_micro())) for group, attack in variants.items()}
    attention, every, conv = (names[f"lora_targets-{group}"] for group in ("attention", "all", "conv"))
    assert attention
    assert conv
    assert not attention & conv
    assert attention | conv == every
    assert all(".attn." in name for name in attention)


def test_lora_conv_adapts_convolutions_alone(make_micro: Make) -> None:
    trained = prepare(LoraConvAttack(), make_micro())
    assert {value.ndim for value in trained.values()} == {4}
    assert not any(".attns." in name for name in trained)


@pytest.mark.parametrize("start", ["gaussian", "pissa", "olora", "rslora", "loraplus"])
@pytest.mark.parametrize("rank", [1, 4, 64])
def test_no_start_changes_the_function(make_micro: Make, images: Tensor, start: str, rank: int) -> None:
    model = make_micro()
    before = model(images)
    (attack,) = starts(start, rank=rank).values()
    prepare(attack, model)
    assert torch.allclose(model(images), before, atol=1e-5)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_from_the_weights_takes_the_leading_part_out_of_them(make_micro: Make, start: str) -> None:
    original, model = make_micro(), make_micro()
    (attack,) = starts(start).values()
    trained = prepare(attack, model)
    assert all(value.abs().sum() > 0 for value in trained.values())
    before = original.get_submodule("unet.conv_in").weight.flatten(1)
    after = model.get_submodule("unet.conv_in").get_base_layer().weight.flatten(1)
    if start == "pissa":
        values = torch.linalg.svdvals(before)
        assert torch.allclose(torch.linalg.svdvals(after)[:4], values[4:8], atol=1e-5)
    else:
        assert torch.linalg.matrix_rank(before - after, atol=1e-5) == 4


@pytest.mark.parametrize("factors", [principal_factors, orthonormal_factors])
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4)])
def test_factors_give_the_weight_back(factors: Callable[..., tuple[Tensor, Tensor]], shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, right = factors(weight)
    assert torch.allclose(left @ right, weight, atol=1e-12)


def test_pissa_factors_share_each_singular_value() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, right = principal_factors(weight)
    assert torch.allclose(left.square().sum(0), right.square().sum(1))
    assert torch.allclose(left.square().sum(0), torch.linalg.svdvals(weight))


def test_gaussian_and_plain_adapters_start_apart(make_micro: Make) -> None:
    gaussian, plain = (prepare(attack, make_micro()) for attack in starts("gaussian", "loraplus").values())
    downs = [name for name in plain if ".lora_A." in name]
    assert not any(torch.equal(gaussian[name], plain[name]) for name in downs)


def test_rslora_scales_by_the_root_of_the_rank(make_micro: Make, images: Tensor) -> None:
    def change(start: str) -> Tensor:
        model = make_micro()
        before = model(images)
        (attack,) = starts(start).values()
        with torch.no_grad():
            for name, value in prepare(attack, model).items():
                value.fill_(0.01 if "conv_out" in name else 0.0)
        return model(images) - before

    # alpha / sqrt(4) over alpha / 4.
    assert torch.allclose(change("rslora"), 2 * change("loraplus"), atol=1e-5)
    assert change("rslora").abs().max() > 1e-3


def test_lora_plus_trains_b_faster(make_micro: Make) -> None:
    (attack,) = LoraInitAttack(LoraInitConfig(starts=("loraplus",), ranks=(4,), lr=1e-3)).variants().values()
    trained = prepare(attack, make_micro())
    rate = {
        id(value): group["lr"]
        for group in attack.optimizer(list(trained.values())).param_groups
        for value in group["params"]
    }
    assert {rate[id(value)] for name, value in trained.items() if ".lora_A." in name} == {1e-3}
    assert {rate[id(value)] for name, value in trained.items() if ".lora_B." in name} == {16 * 1e-3}


def test_a_ratio_without_lora_plus_is_refused() -> None:
    with pytest.raises(ValidationError, match="lora_plus_ratio"):
        LoraInitConfig(starts=("pissa",), lora_plus_ratio=4.0)


def test_dora_trains_a_magnitude_beside_the_adapters(make_micro: Make, images: Tensor) -> None:
    model = make_micro()
    before = model(images)
    dora = prepare(DoraAttack(LoraConfig(rank=4)), model)
    lora = prepare(LoraAttack(LoraConfig(rank=4)), make_micro())
    assert torch.allclose(model(images), before, atol=1e-5)
    magnitudes = dora.keys() - lora.keys()
    assert magnitudes
    assert all("magnitude" in name for name in magnitudes)


@pytest.mark.parametrize("name", ["dora", "lora_init-gaussian-4", "lora_init-rslora-4", "lora_init-loraplus-4"])
def test_a_saved_adapter_gives_the_attacked_model(
    make_micro: Make, images: Tensor, tune: Tune, tmp_path: Path, name: str
) -> None:
    from peft import PeftModel

    attack = {"dora": DoraAttack(LoraConfig(rank=4))}.get(name) or starts(name.split("-")[1])[name]
    model = make_micro()
    tune(model, attack, prepare(attack, model))
    attack.save(model, tmp_path / "adapter")
    fresh = make_micro()
    assert not torch.allclose(fresh(images), model(images), atol=1e-4)
    loaded = PeftModel.from_pretrained(fresh, str(tmp_path / "adapter")).eval()
    assert torch.allclose(loaded(images), model(images), atol=1e-5)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_from_the_weights_saves_the_whole_model(
    make_micro: Make, images: Tensor, tune: Tune, tmp_path: Path, start: str
) -> None:
    model = make_micro()
    (attack,) = starts(start).values()
    tune(model, attack, prepare(attack, model))
    after = model(images)
    attack.save(model, tmp_path / "model")
    assert torch.allclose(load_generator("tiny", str(tmp_path / "model"))(images), after, atol=1e-5)


def test_starts_can_be_counted_without_memory(make_micro: Make) -> None:
    with torch.device("meta"):
        model = LGM(**{key: value for key, value in make_micro().config.items() if not key.startswith("_")})
    for attack in starts("pissa").values():
        assert all(value.is_meta for value in attack.prepare(model).values())
