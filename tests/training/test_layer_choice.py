from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters

Open = Callable[..., Any]
FREEZE = "layers.freeze_lora_targets=true"


def chosen(open_mini: Open, *overrides: str) -> set[str]:
    opened = open_mini(*overrides)
    return set(select_parameters(opened.model, *layer_choice(opened.model, opened.bench.profile)))


def test_modules_of_the_configured_lora_are_frozen_and_nothing_else(open_mini: Open) -> None:
    every = chosen(open_mini)
    left_out = every - chosen(open_mini, FREEZE, "attack.lora.targets=qkv,conv1")
    assert left_out == {name for name in every if name.split(".")[-2] in ("qkv", "conv1")}
    assert len(left_out) > 10


def test_the_default_lora_leaves_the_norms(open_mini: Open) -> None:
    assert {name.split(".")[-2] for name in chosen(open_mini, FREEZE)} == {"norm1", "norm2", "norm", "norm_out"}


def test_a_named_unit_of_which_nothing_is_left_is_a_contradiction(open_mini: Open) -> None:
    with pytest.raises(UsageError, match=r"names unet\.conv_in, all of which layers\.freeze_lora_targets keeps frozen"):
        chosen(open_mini, FREEZE, "layers.units=unet.norm_out,unet.conv_in")


def test_a_named_unit_of_which_something_is_left_is_fine(open_mini: Open) -> None:
    assert chosen(open_mini, FREEZE, "layers.units=unet.mid_block.nets.0", "attack.lora.targets=conv1") == {
        f"unet.mid_block.nets.0.{part}.{kind}" for part in ("norm1", "norm2", "conv2") for kind in ("weight", "bias")
    }
