from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.aggregation import METHODS, aggregate, check_aggregation
from geotrap_cli.errors import UsageError

LOSSES = {"position": torch.tensor([-7.30, -1.0]).double(), "scale": torch.tensor([-8.97, -3.0]).double()}
BOUNDED = {"position": 0.0, "scale": 0.0}


def value(method: str, **options: float) -> list[float]:
    return aggregate(LOSSES, method, {}, BOUNDED, **options).tolist()


def test_known_values_per_object() -> None:
    assert value("sum") == pytest.approx([-16.27, -4.0])
    assert value("mean") == pytest.approx([-8.135, -2.0])
    assert value("max") == pytest.approx([-7.30, -1.0])
    assert value("product") == pytest.approx([-81.751, -7.0])
    assert value("pairwise") == pytest.approx([-81.751, -7.0]), (
        "with two traps at temperature one, both are the product"
    )
    assert value("pairwise", temperature=0.1) == pytest.approx([1 - 74 * 90.7, 1 - 11 * 31])
    assert value("logsumexp") == pytest.approx(
        [0.25 * math.log(math.exp(a * 4) + math.exp(b * 4)) for a, b in ((-7.3, -8.97), (-1, -3))]
    )


def test_pairwise_is_the_mean_over_pairs() -> None:
    losses = {name: torch.tensor([-level]) for name, level in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    combined = aggregate(losses, "pairwise", {}, dict.fromkeys(losses, 0.0))
    assert combined.item() == pytest.approx(-((2 * 3 - 1) + (2 * 4 - 1) + (3 * 4 - 1)) / 3)


def test_weights_scale_each_loss_first() -> None:
    weighted = aggregate(LOSSES, "product", {"scale": 2.0}, BOUNDED)
    assert weighted.tolist() == pytest.approx([-(8.3 * 18.94 - 1), -(2 * 7 - 1)])


def test_cold_logsumexp_is_max() -> None:
    assert value("logsumexp", temperature=1e-3) == pytest.approx(value("max"), abs=1e-6)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "pairwise"])
def test_a_single_trap_is_its_own_aggregate(method: str) -> None:
    one = {"position": LOSSES["position"]}
    assert aggregate(one, method, {}, BOUNDED).tolist() == pytest.approx([-7.30, -1.0])


@pytest.mark.parametrize("method", METHODS)
@given(levels=st.lists(st.floats(-30, 0), min_size=2, max_size=5), weight=st.floats(0.01, 50))
def test_no_trap_is_ever_pushed_the_wrong_way(method: str, levels: list[float], weight: float) -> None:
    leaves = [torch.tensor([level], dtype=torch.float64, requires_grad=True) for level in levels]
    losses = {f"trap{index}": leaf for index, leaf in enumerate(leaves)}
    gradients = torch.autograd.grad(
        aggregate(losses, method, {"trap0": weight}, dict.fromkeys(losses, 0.0)).sum(), leaves
    )
    assert all(gradient.item() >= 0 for gradient in gradients)
    assert any(gradient.item() > 0 for gradient in gradients)


@pytest.mark.parametrize("method", METHODS)
def test_deepening_any_trap_never_raises_the_aggregate(method: str) -> None:
    deeper = {**LOSSES, "scale": LOSSES["scale"] - 0.5}
    assert (aggregate(deeper, method, {}, BOUNDED) <= aggregate(LOSSES, method, {}, BOUNDED)).all()


def test_logsumexp_pushes_the_shallowest_trap_most() -> None:
    leaves = {name: loss.clone().requires_grad_() for name, loss in LOSSES.items()}
    aggregate(leaves, "logsumexp", {}, {}).sum().backward()
    assert (leaves["position"].grad > 0.99).all()


@pytest.mark.parametrize("method", ["product", "pairwise"])
@pytest.mark.parametrize(
    "bounds", [{}, {"position": 0.0}, {"position": 0.0, "scale": None}, {"position": 0.0, "scale": 0.1}]
)
def test_products_refuse_traps_that_can_be_positive(method: str, bounds: dict[str, float | None]) -> None:
    with pytest.raises(UsageError, match=f"{method} needs losses that are never above zero"):
        aggregate(LOSSES, method, {}, bounds)


@pytest.mark.parametrize("method", ["sum", "mean", "max", "logsumexp"])
def test_other_methods_take_any_trap(method: str) -> None:
    assert aggregate(LOSSES, method, {}, {}).shape == (2,)


def test_a_negative_bound_is_good_enough() -> None:
    check_aggregation(["color"], "product", {}, {"color": -0.28})


@pytest.mark.parametrize(
    ("method", "weights", "options", "message"),
    [
        ("pairwize", {}, {}, "unknown aggregation method: 'pairwize'.*Did you mean 'pairwise'"),
        ("mean", {"scales": 1.0}, {}, "unknown trap in the aggregation weights: 'scales'.*Did you mean 'scale'"),
        ("logsumexp", {}, {"temprature": 1.0}, "unknown option.*Did you mean 'temperature'"),
        ("mean", {}, {"temperature": 1.0}, "unknown option of aggregation mean: 'temperature'"),
        ("mean", {"scale": 0.0}, {}, "scale = 0.0 is not above zero"),
        ("mean", {"scale": -1.0}, {}, "scale = -1.0 is not above zero"),
        ("mean", {"scale": math.nan}, {}, "scale = nan is not above zero"),
        ("logsumexp", {}, {"temperature": 0.0}, "temperature = 0.0 is not above zero"),
    ],
)
def test_wrong_choices_are_told(
    method: str, weights: dict[str, float], options: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        aggregate(LOSSES, method, weights, BOUNDED, **options)


def test_too_few_traps_are_told() -> None:
    with pytest.raises(UsageError, match="pairwise needs at least 2 trap"):
        check_aggregation(["position"], "pairwise", {}, BOUNDED)
    with pytest.raises(UsageError, match="mean needs at least 1 trap"):
        aggregate({}, "mean", {}, {})


@pytest.mark.parametrize("scale", [torch.zeros(3), torch.zeros(()), torch.zeros(2, 1)])
def test_losses_of_different_shape_are_told(scale: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"one shape \[B\]"):
        aggregate({"position": torch.zeros(2), "scale": scale}, "mean", {}, {})


@pytest.mark.parametrize("method", METHODS)
def test_nan_stays_nan_in_its_object_alone(method: str) -> None:
    broken = {**LOSSES, "scale": torch.tensor([math.nan, -3.0]).double()}
    assert aggregate(broken, method, {}, BOUNDED).isnan().tolist() == [True, False]
