"""Counting on the meta device against a count by hand, and against what autograd keeps of a real model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.models.lgm.attention import Attention
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.cost import count_object, measure_rate
from geotrap_cli.training.layers import select_parameters

Make = Callable[..., LGM]


@pytest.fixture
def meta(make_micro: Make) -> Make:
    """Makes the tiny LGM on the meta device."""

    def make(**overrides: Any) -> LGM:
        with torch.device("meta"):
            return make_micro(**overrides)

    return make


def flops_by_hand(model: LGM) -> dict[str, int]:
    """Two operations a multiplication in every convolution, linear layer and attention, for one object."""
    counts: dict[str, int] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(module: Any, inputs: Sequence[torch.Tensor], output: torch.Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                inner = module.in_channels * math.prod(module.kernel_size)
                counts[name] = 2 * inner * output.numel()
            elif isinstance(module, nn.Linear):
                counts[name] = 2 * module.in_features * output.numel()
            elif isinstance(module, Attention):
                _, tokens, channels = output.shape
                # Every token with every token: once for the weights, once for the mix.
                counts[name] = 2 * 2 * tokens * tokens * channels

        return note

    for name, module in model.named_modules():
        module.register_forward_hook(hook(name))
    with torch.no_grad():
        model(torch.zeros(1, 4, 9, model.input_size, model.input_size))
    return counts


def kept_by_autograd(model: LGM) -> int:
    """Bytes of the distinct tensors that a forward pass on the CPU keeps."""
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.zeros(1, 4, 9, model.input_size, model.input_size))
    return sum(kept.values())


def test_forward_is_the_count_by_hand(make_micro: Make, meta: Make) -> None:
    assert count_object(meta(), False).forward == sum(flops_by_hand(make_micro()).values())


def test_backward_does_two_products_for_each_of_forward_except_towards_the_images(make_micro: Make, meta: Make) -> None:
    counts, cost = flops_by_hand(make_micro()), count_object(meta(), False)
    attention = counts["unet.mid_block.attns.0.attn"]
    plain = 2 * (cost.forward - attention) - counts["unet.conv_in"]
    # Fused attention computes its weights again: between two and two and a half times forward.
    assert plain + 2 * attention <= cost.backward <= plain + 2.5 * attention


def test_backward_ends_where_nothing_before_is_trained(meta: Make) -> None:
    model = meta()
    select_parameters(model, ["unet.conv_out"], freeze_head=False)
    cost = count_object(model, False)
    assert cost.backward < 0.2 * cost.forward
    assert cost.activations < 0.2 * count_object(meta(), False).activations


@pytest.mark.parametrize(
    "overrides",
    [{}, {"down_attention": (True, True), "num_heads": 4}, {"down_channels": (64, 64), "up_channels": (64, 64)}],
)
def test_activations_are_what_autograd_keeps(make_micro: Make, overrides: dict[str, Any], meta: Make) -> None:
    real = kept_by_autograd(make_micro(**overrides))
    assert count_object(meta(**overrides), False).activations == pytest.approx(real, rel=0.05)


def test_checkpointing_trades_memory_for_a_second_forward_pass(meta: Make) -> None:
    plain, checkpointed = count_object(meta(), False), count_object(meta(), True)
    assert checkpointed.activations < 0.7 * plain.activations
    assert checkpointed.backward == plain.backward + plain.forward
    assert checkpointed.forward == plain.forward


def test_attention_keeps_no_matrix_of_token_pairs() -> None:
    with torch.device("meta"):
        model = LGM.from_preset("small")
    # One such matrix of the first attention: 16 heads, 4 views of 32 x 32 tokens, 4 bytes.
    matrix = 16 * (4 * 32 * 32) ** 2 * 4
    assert count_object(model, False).activations < 5 * matrix


def test_the_model_stays_on_meta_and_is_left_as_it_was(meta: Make) -> None:
    model = meta()
    count_object(model, True)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rate_is_measured(precision: str, meta: Make) -> None:
    rate = measure_rate(count_object(meta(), False), torch.device("cpu"), precision)
    assert math.isfinite(rate)
    assert rate > 1e6


def test_the_heaviest_block_is_the_one_with_most_operations(make_micro: Make, meta: Make) -> None:
    counts = flops_by_hand(make_micro())
    blocks: dict[str, int] = {}
    for name, count in counts.items():
        if ".nets." in name:
            block = name.rpartition(".")[0]
            blocks[block] = blocks.get(block, 0) + count
    heaviest = make_micro().get_submodule(max(blocks, key=lambda name: blocks[name]))
    channels, out_channels, groups, side = count_object(meta(), False).heaviest
    assert (channels, out_channels) == (heaviest.conv1.in_channels, heaviest.conv1.out_channels)  # type: ignore[union-attr]
    assert (groups, side) == (4, 16)
