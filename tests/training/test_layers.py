from __future__ import annotations

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.layers import select_parameters


def trainable(model: LGM) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_a_unit_is_never_a_substring(micro: LGM) -> None:
    # "conv" is part of most names of the model.
    assert sum("conv" in name for name, _ in micro.named_parameters()) > 20
    assert list(select_parameters(micro, ["conv"], freeze_head=False)) == ["conv.weight", "conv.bias"]
    assert trainable(micro) == ["conv.weight", "conv.bias"]


def test_a_residual_block_is_not_its_namesake_with_more_digits(micro: LGM) -> None:
    chosen = select_parameters(micro, ["unet.up_blocks.1.nets.1"], freeze_head=True)
    assert all(name.startswith("unet.up_blocks.1.nets.1.") for name in chosen)
    assert {name.removeprefix("unet.up_blocks.1.nets.1.").split(".")[0] for name in chosen} == {
        "norm1",
        "conv1",
        "norm2",
        "conv2",
        "shortcut",
    }


def test_all_units_but_the_head(micro: LGM) -> None:
    every = dict(micro.named_parameters())
    assert list(select_parameters(micro, (), freeze_head=False)) == list(every)
    kept = select_parameters(micro, (), freeze_head=True)
    left_out = set(every) - set(kept)
    assert left_out == {"unet.conv_out.weight", "unet.conv_out.bias", "conv.weight", "conv.bias"}
    assert set(micro.head_units) <= set(micro.units())


def test_order_is_the_models(micro: LGM) -> None:
    units = ["unet.mid_block.nets.0", "unet.conv_in"]
    chosen = list(select_parameters(micro, units, freeze_head=True))
    assert chosen == [name for name, _ in micro.named_parameters() if name in chosen]
    assert chosen[0].startswith("unet.conv_in")


def test_only_the_chosen_get_gradients_and_a_second_choice_replaces_the_first(micro: LGM) -> None:
    select_parameters(micro, ["unet.conv_in"], freeze_head=True)
    chosen = select_parameters(micro, ["unet.norm_out"], freeze_head=True)
    micro(torch.randn(1, 4, 9, 16, 16)).sum().backward()
    assert [name for name, parameter in micro.named_parameters() if parameter.grad is not None] == list(chosen)


def test_unknown_units_are_told_together_with_the_closest(micro: LGM) -> None:
    with pytest.raises(UsageError) as caught:
        select_parameters(micro, ["unet.conv_inn", "unet.conv_in", "unet.mid_block.net.0"], freeze_head=True)
    assert "no unit 'unet.conv_inn', did you mean 'unet.conv_in'?" in caught.value.message
    assert "no unit 'unet.mid_block.net.0', did you mean 'unet.mid_block.nets.0'?" in caught.value.message


def test_a_prefix_is_no_unit(micro: LGM) -> None:
    with pytest.raises(UsageError, match=r"no unit 'unet\.mid_block'"):
        select_parameters(micro, ["unet.mid_block"], freeze_head=True)


def test_a_named_unit_of_the_frozen_head_is_a_contradiction(micro: LGM) -> None:
    with pytest.raises(UsageError, match=r"names unet\.conv_out, which layers\.freeze_head keeps frozen"):
        select_parameters(micro, ["unet.conv_in", "unet.conv_out"], freeze_head=True)
    assert trainable(micro) == list(dict(micro.named_parameters()))


def test_a_fused_head_has_one_unit_less(micro: LGM) -> None:
    micro.fuse_head()
    assert "conv.weight" not in select_parameters(micro, (), freeze_head=False)
    with pytest.raises(UsageError, match="no unit 'conv'"):
        select_parameters(micro, ["conv"], freeze_head=False)
