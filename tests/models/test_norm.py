from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.norm import GroupNorm


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))


def gradients(norm: nn.GroupNorm, x: Tensor) -> list[Tensor | None]:
    norm(x).pow(3).sum().backward()
    return [parameter.grad for parameter in norm.parameters()]


@pytest.mark.parametrize("trained", [("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weight_and_bias_can_be_trained_alone(
    x: Tensor, trained: tuple[str, ...], memory_format: torch.memory_format
) -> None:
    norm, plain = GroupNorm(4, 8), nn.GroupNorm(4, 8)
    for name, parameter in norm.named_parameters():
        parameter.requires_grad_(name in trained)
    expected = dict(zip(("weight", "bias"), gradients(plain, x.clone().requires_grad_()), strict=True))
    gradients(norm, x.to(memory_format=memory_format))
    for name, parameter in norm.named_parameters():
        if name in trained:
            torch.testing.assert_close(parameter.grad, expected[name])
        else:
            assert parameter.grad is None
    assert not x.requires_grad and x.grad is None


def test_gradients_pass_to_an_input_that_has_one(x: Tensor) -> None:
    norm = GroupNorm(4, 8)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    gradients(norm, mine)
    gradients(nn.GroupNorm(4, 8), theirs)
    assert torch.equal(mine.grad, theirs.grad)


def test_without_gradients_nothing_is_kept(x: Tensor) -> None:
    with torch.no_grad():
        assert not GroupNorm(4, 8)(x).requires_grad


def test_one_norm_of_a_generator_can_be_trained(micro: LGM) -> None:
    whole, last = copy.deepcopy(micro), micro.requires_grad_(False)
    last.unet.norm_out.requires_grad_()
    images = torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(1))
    for model in (whole, last.to(memory_format=torch.channels_last)):  # type: ignore[call-overload]
        model(images).square().sum().backward()
    torch.testing.assert_close(last.unet.norm_out.weight.grad, whole.unet.norm_out.weight.grad, rtol=1e-3, atol=1e-3)
