from __future__ import annotations

import pytest
import torch
from torch import nn

from geotrap_cli.training.moving_average import MovingAverage


def follow(decay: float, values: list[float]) -> float:
    weight = nn.Parameter(torch.tensor([values[0]], dtype=torch.float64))
    average = MovingAverage({"w": weight}, decay)
    for step, value in enumerate(values[1:], start=1):
        weight.data.fill_(value)
        average.update(step)
    return average.shadow["w"].item()


def test_no_decay_follows_exactly() -> None:
    assert follow(0.0, [1.0, 0.1, 0.3]) == 0.3


def test_known_value_in_the_rise() -> None:
    # Decays 1/11 and 2/12 while they are below the limit.
    first = 1 / 11 * 5.0 + 10 / 11 * 2.0
    assert follow(0.9, [5.0, 2.0, 8.0]) == pytest.approx(1 / 6 * first + 5 / 6 * 8.0)


def test_the_limit_holds_after_the_rise() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    average = MovingAverage({"w": weight}, 0.5)
    weight.data.fill_(1.0)
    average.update(1000)
    assert average.shadow["w"].item() == 0.5


def test_a_constant_is_its_own_average() -> None:
    assert follow(0.999, [0.1] * 20) == 0.1


def test_applied_lends_the_average_and_gives_the_weights_back() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage({"w": weight}, 0.9)
    shadow = average.shadow["w"].clone()
    weight.data.fill_(3.0)
    with pytest.raises(RuntimeError), average.applied():
        assert torch.equal(weight, shadow)
        raise RuntimeError
    assert weight.item() == 3.0
    assert torch.equal(average.shadow["w"], shadow)
    assert weight.requires_grad


def test_the_shadow_is_updated_in_place_so_that_checkpoints_see_it() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage({"w": weight}, 0.9)
    tensor = average.shadow["w"]
    weight.data.fill_(2.0)
    average.update(1)
    assert tensor is average.shadow["w"]
    assert tensor.item() > 1.0
    assert not tensor.requires_grad
