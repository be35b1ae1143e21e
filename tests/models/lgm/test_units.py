from __future__ import annotations

import re
from itertools import chain

import pytest
import torch
from peft import LoraConfig

from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.lgm.units import unit_of


@pytest.fixture(scope="module")
def big() -> LGM:
    with torch.device("meta"):
        return LGM.from_preset("big")


def test_big_has_ninety_units_that_hold_each_tensor_once(big: LGM) -> None:
    units = big.units()
    names = list(chain.from_iterable(units.values()))
    assert len(units) == 90
    assert len(names) == len(set(names)) == 376
    assert set(names) == set(big.state_dict())


def test_units_are_modules_of_the_model_with_all_their_parameters(big: LGM) -> None:
    for unit, names in big.units().items():
        inside = [f"{unit}.{name}" for name, _ in big.get_submodule(unit).named_parameters()]
        assert names == inside


def test_kinds_of_units(big: LGM) -> None:
    units = list(big.units())
    kinds = {kind: sum(re.search(pattern, u) is not None for u in units) for kind, pattern in {
        "resnet": r"\.nets\.\d+$",
        "attention": r"\.attns\.\d+\.(norm|attn\.qkv|attn\.proj)$",
        "resampling": r"\.(down|up)sample$",
        "ends": r"^(unet\.(conv_in|norm_out|conv_out)|conv)$",
    }.items()}  # fmt: skip
    assert kinds == {"resnet": 29, "attention": 48, "resampling": 9, "ends": 4}


def test_the_unit_conv_is_the_last_convolution_alone(big: LGM) -> None:
    assert big.units()["conv"] == ["conv.weight", "conv.bias"]


def test_adapter_parameters_belong_to_the_unit_they_adapt(miniature: LGM) -> None:
    units = miniature.units()
    miniature.add_adapter(LoraConfig(r=2, target_modules=["qkv", "conv1", "conv"]))
    adapted = miniature.units()
    assert adapted.keys() == units.keys()
    assert any("lora_A" in name for name in adapted["unet.mid_block.attns.0.attn.qkv"])
    assert any("lora_B" in name for name in adapted["conv"])


def test_a_fused_model_has_no_unit_conv(miniature: LGM) -> None:
    before = miniature.units()
    assert before.keys() - miniature.fuse_head().units().keys() == {"conv"}


def test_a_foreign_name_is_an_error() -> None:
    with pytest.raises(GeotrapError, match="decoder"):
        unit_of("decoder.weight")
