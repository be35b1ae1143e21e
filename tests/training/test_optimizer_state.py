from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.training.optimizer_state import load_optimizer, save_optimizer


class Slowing(torch.optim.Optimizer):
    """Counts its steps in a plain number, as some optimizers do, and slows down with them."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state["count"] = state.get("count", 0) + 1
            parameter -= self.param_groups[0]["lr"] / state["count"] * parameter.grad


MAKERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2),
    "slowing": Slowing,
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
}


def make_parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in ((3, 2), (), (4,))]


def take_steps(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, first: int, count: int) -> None:
    for step in range(first, first + count):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("before", [0, 3])
def test_going_on_after_a_round_trip_is_bit_exact(kind: str, dtype: torch.dtype, before: int, tmp_path: Path) -> None:
    straight = make_parameters(dtype)
    optimizer = MAKERS[kind](straight)
    take_steps(straight, optimizer, 0, before)
    save_optimizer(optimizer, tmp_path)
    resumed = [nn.Parameter(parameter.detach().clone()) for parameter in straight]
    restored = MAKERS[kind](resumed)
    load_optimizer(restored, tmp_path)
    take_steps(straight, optimizer, before, 4)
    take_steps(resumed, restored, before, 4)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


def test_state_matters(tmp_path: Path) -> None:
    straight = make_parameters()
    optimizer = MAKERS["adamw"](straight)
    take_steps(straight, optimizer, 0, 3)
    fresh = [nn.Parameter(parameter.detach().clone()) for parameter in straight]
    take_steps(straight, optimizer, 3, 1)
    take_steps(fresh, MAKERS["adamw"](fresh), 3, 1)
    assert not torch.equal(straight[0], fresh[0])


def test_groups_and_their_rates_come_back(tmp_path: Path) -> None:
    parameters = make_parameters()

    def make(rates: tuple[float, float]) -> torch.optim.Optimizer:
        groups = [{"params": parameters[:1], "lr": rates[0]}, {"params": parameters[1:], "lr": rates[1]}]
        return torch.optim.AdamW(groups)

    optimizer = make((1e-3, 0.1 + 0.2))
    optimizer.param_groups[1]["initial_lr"] = 1 / 3
    save_optimizer(optimizer, tmp_path)
    restored = make((1.0, 1.0))
    load_optimizer(restored, tmp_path)
    assert [group["lr"] for group in restored.param_groups] == [1e-3, 0.1 + 0.2]
    assert restored.param_groups[1]["initial_lr"] == 1 / 3


def test_nothing_is_pickled(tmp_path: Path) -> None:
    parameters = make_parameters()
    optimizer = MAKERS["momentum"](parameters)
    take_steps(parameters, optimizer, 0, 1)
    save_optimizer(optimizer, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
