"""LoRA layers with one merged weight compute what PEFT's own do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.training.merged_lora import WIDEST, merge_in_forward


class Layers(nn.Module):
    """A linear map and convolutions of every kind that generators have."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.point = nn.Conv2d(6, 5, 1, bias=False)
        self.linear = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(self.point(self.strided(x)).mean((2, 3)))
        return found


def adapted(**options: Any) -> Any:
    ensure_torchvision()
    import peft

    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["strided", "point", "linear"], **options)
    model = peft.get_peft_model(Layers(), config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model


def test_output_and_gradients_are_those_of_peft() -> None:
    plain = adapted()
    merged = copy.deepcopy(plain)
    assert merge_in_forward(merged) == 3
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for model in (plain, merged):
        model(x).square().sum().backward()
    torch.testing.assert_close(merged(x), plain(x))
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.requires_grad}
    assert len(gradients) == 6
    for name, parameter in merged.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name])
        else:
            assert parameter.grad is None


def test_adapters_can_still_be_switched_off() -> None:
    model = adapted()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    with model.disable_adapter():
        wanted = model(x)
    merge_in_forward(model)
    assert not torch.allclose(model(x), wanted)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), wanted)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5}])
def test_other_kinds_of_adapters_stay_as_they_are(options: dict[str, Any]) -> None:
    assert merge_in_forward(adapted(**options)) == 0


def test_wide_layers_stay_as_they_are() -> None:
    ensure_torchvision()
    import peft

    model = nn.Sequential(nn.Linear(3, 2 * WIDEST), nn.Linear(2 * WIDEST, 2 * WIDEST + 1))
    assert merge_in_forward(peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["0", "1"]))) == 1
