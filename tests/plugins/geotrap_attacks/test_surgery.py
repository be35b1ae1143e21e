"""Edits of weights, each against what it says about the generator's output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks._surgery import (
    add_relative_noise,
    matrices,
    read_head,
    reinitialise,
    rescale_output,
    rms,
    write_head,
)
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(1, 4, 9, 8, 8, generator=torch.Generator().manual_seed(0))


def test_noise_has_the_size_that_is_asked_and_the_seed_decides_it(make_pico: Make) -> None:
    clean, first, second, other = (make_pico() for _ in range(4))
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        add_relative_noise(model, 0.02, seed)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.unet.conv_in.weight, other.unet.conv_in.weight)
    for (name, before), after in zip(clean.named_parameters(), first.parameters(), strict=True):
        if before.numel() > 500:
            assert rms(after - before) == pytest.approx(0.02 * rms(before), rel=0.15), name
    assert rms(clean.unet.norm_out.bias) == 0
    assert torch.equal(first.unet.norm_out.bias, clean.unet.norm_out.bias)


def test_fresh_weights_are_those_of_a_new_layer_and_leave_the_generator_alone(pico: LGM) -> None:
    with torch.no_grad():
        pico.unet.conv_out.weight.fill_(7.0)
        pico.unet.norm_out.weight.fill_(7.0)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    units = pico.units()
    reinitialise(pico, [*units["unet.conv_out"], *units["unet.norm_out"]], 5)
    assert torch.equal(torch.rand(3), expected)
    bound = (pico.unet.conv_out.in_channels * 9) ** -0.5
    assert 0.9 * bound < float(pico.unet.conv_out.weight.detach().abs().max()) <= bound
    assert torch.equal(pico.unet.norm_out.weight, torch.ones(8))
    before = pico.unet.conv_out.weight.clone()
    reinitialise(pico, units["unet.conv_out"], 5)
    assert torch.equal(pico.unet.conv_out.weight, before)


@pytest.mark.parametrize("fused", [False, True])
def test_the_output_is_rescaled_channel_by_channel(make_pico: Make, images: Tensor, fused: bool) -> None:
    model = make_pico(fused_head=fused)
    before = model(images)
    factors, shifts = torch.linspace(0.1, 2.0, 14), torch.linspace(-3.0, 3.0, 14)
    rescale_output(model, factors, shifts)
    torch.testing.assert_close(model(images), before * factors + shifts, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_reading_and_writing_the_head_keeps_the_function(make_pico: Make, images: Tensor, fused: bool) -> None:
    model = make_pico(fused_head=fused)
    before = model(images)
    weight, bias = read_head(model)
    assert weight.shape == (14, 8, 3, 3)
    write_head(model, weight, bias)
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-5)
    again = read_head(model)
    torch.testing.assert_close(again[0].float(), weight.float())
    write_head(model, torch.zeros_like(weight), torch.arange(14.0))
    assert torch.equal(model(images), torch.arange(14.0).expand_as(before))


def test_matrices_are_the_weights_of_linear_and_convolution_layers(pico: LGM) -> None:
    names = {name for name, _ in matrices(pico)}
    assert "unet.mid_block.attns.0.attn.qkv.weight" in names
    assert "conv.weight" in names
    assert not any(name.endswith("bias") or "norm" in name for name in names)


def test_a_head_under_an_adapter_is_an_error(pico: LGM) -> None:
    from geotrap_attacks.lora import LoraAttack, LoraConfig

    LoraAttack(LoraConfig(targets=("conv",))).prepare(pico)
    with pytest.raises(GeotrapError, match="adapter"):
        rescale_output(pico, torch.ones(14), torch.zeros(14))
