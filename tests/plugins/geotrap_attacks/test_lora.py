from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_attacks.lora import WEIGHTS, LoraAttack, LoraConfig, target_modules
from torch import Tensor, nn

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.plugins import load_plugin

ensure_torchvision()

Make = Callable[..., LGM]
Tune = Callable[..., None]


def prepare(model: LGM, **options: Any) -> tuple[LoraAttack, dict[str, nn.Parameter]]:
    torch.manual_seed(7)
    attack = LoraAttack(LoraConfig(**options))
    return attack, attack.prepare(model)


def test_it_is_the_entry_point() -> None:
    assert load_plugin("geotrap.attacks", "lora") is LoraAttack


def test_the_first_forward_pass_is_the_released_model(micro: LGM, images: Tensor) -> None:
    before = micro(images)
    prepare(micro)
    assert torch.equal(micro(images), before)


def test_only_adapters_train(make_micro: Make, tune: Tune) -> None:
    original = make_micro().state_dict()
    model = make_micro()
    attack, parameters = prepare(model)
    assert parameters
    assert all("lora_" in name for name in parameters)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(parameters)
    tune(model, attack, parameters)
    base = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items() if "lora_" not in name}
    assert base.keys() == original.keys()
    assert all(torch.equal(base[name], original[name]) for name in base)
    assert any(parameter.abs().sum() > 0 for name, parameter in parameters.items() if "lora_B" in name)


def test_the_saved_adapter_makes_a_fresh_model_the_attacked_one(
    make_micro: Make, images: Tensor, tune: Tune, tmp_path: Path
) -> None:
    from peft import PeftModel

    model = make_micro()
    attack, parameters = prepare(model, lr=1e-2)
    tune(model, attack, parameters)
    attack.save(model, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {"adapter_config.json", WEIGHTS}
    fresh = make_micro()
    assert not torch.allclose(fresh(images), model(images), atol=1e-4)
    loaded = PeftModel.from_pretrained(fresh, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(loaded(images), model(images))


def test_the_same_seed_starts_from_the_same_adapters_whatever_the_weights(make_micro: Make) -> None:
    _, first = prepare(make_micro(seed=0))
    _, second = prepare(make_micro(seed=1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rank_and_alpha_act(make_micro: Make, images: Tensor) -> None:
    _, narrow = prepare(make_micro(), rank=2)
    _, wide = prepare(make_micro(), rank=4)
    assert sum(p.numel() for p in wide.values()) == 2 * sum(p.numel() for p in narrow.values())

    def change(alpha: float) -> Tensor:
        model = make_micro()
        before = model(images)
        _, parameters = prepare(model, rank=4, alpha=alpha, targets=("conv_out",))
        with torch.no_grad():
            for name, parameter in parameters.items():
                if "lora_B" in name:
                    parameter.fill_(0.1)
        return model(images) - before

    assert torch.allclose(change(8.0), 2 * change(4.0), atol=1e-4)


class TestTargets:
    def test_names_match_by_their_last_component(self, micro: LGM) -> None:
        assert target_modules(micro, ("conv_in",)) == ["unet.conv_in"]
        assert target_modules(micro, ("conv",)) == ["conv"]
        names = target_modules(micro, ("qkv", "proj"))
        assert names == ["unet.mid_block.attns.0.attn.qkv", "unet.mid_block.attns.0.attn.proj"]

    def test_only_what_is_named_gets_an_adapter(self, micro: LGM) -> None:
        _, parameters = prepare(micro, targets=("conv",))
        assert set(parameters) == {"conv.lora_A.default.weight", "conv.lora_B.default.weight"}

    def test_defaults_cover_every_linear_and_convolution_but_the_1x1_head(self, micro: LGM) -> None:
        every = {n for n, m in micro.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        assert every - set(LoraAttack().modules(micro)) == {"conv"}

    def test_an_unknown_target_is_an_error_that_lists_the_known(self, micro: LGM) -> None:
        with pytest.raises(UsageError, match=r"attack\.lora\.targets: no layer is called 'to_q'") as caught:
            prepare(micro, targets=("qkv", "to_q"))
        assert "proj, qkv" in str(caught.value.hint)
        assert not any("lora_" in name for name, _ in micro.named_parameters())

    def test_no_norm_can_be_adapted(self, micro: LGM) -> None:
        with pytest.raises(UsageError, match="norm_out"):
            target_modules(micro, ("norm_out",))


def test_the_saved_config_names_rank_alpha_and_targets(micro: LGM, tmp_path: Path) -> None:
    attack, _ = prepare(micro, rank=3, alpha=6.0, targets=("qkv",))
    attack.save(micro, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (3, 6.0, True)
    assert config["target_modules"] == ["unet.mid_block.attns.0.attn.qkv"]
