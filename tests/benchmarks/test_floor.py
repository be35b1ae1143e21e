from __future__ import annotations

import pytest
import torch
from torch import nn


def test_a_tally_counts_products_of_both_directions_by_part() -> None:
    from _floor import Tally

    tally, layer = Tally(torch.device("cpu")), nn.Linear(3, 5, bias=False)
    x = torch.ones(2, 3, requires_grad=True)
    with tally.part("there"):
        y = layer(x)
    with tally.part("back"):
        y.sum().backward()
    # 2·2·3·5 forward; as much for the gradient of the weights, and for that of the input.
    assert tally.operations == {"there": 60, "back": 120}
    with tally.part("there"):
        layer(x)
    assert tally.operations["there"] == 120


@pytest.mark.parametrize(
    ("operations", "size", "over_link", "seconds"),
    [(200, 10, False, 2.0), (200, 50, False, 5.0), (0, 50, True, 25.0), (0, 0, False, 0.0)],
)
def test_a_floor_is_the_longer_of_both_times(operations: int, size: int, over_link: bool, seconds: float) -> None:
    from _floor import Rates

    assert Rates(product=100, memory=10, link=2).floor(operations, size, over_link).seconds == seconds


def test_nothing_crosses_to_the_host_itself() -> None:
    from _floor import Rates

    assert Rates(product=100, memory=10, link=None).floor(0, 50, over_link=True).seconds == 0


def test_sizes_are_bytes() -> None:
    from _floor import size_of

    assert size_of(torch.ones(3), torch.ones(2, 2, dtype=torch.bfloat16)) == 20


def test_rates_are_positive() -> None:
    from _floor import measure_rates

    rates = measure_rates(torch.device("cpu"))
    assert rates.product > 0
    assert rates.memory > 0
    assert rates.link is None
