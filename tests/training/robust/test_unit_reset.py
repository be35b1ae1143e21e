"""Traps where units have fresh weights: which units, which weights, whose gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.robust.unit_reset import UnitReset

ONLY_PLACES = ("robust.clean_weight=0.0", "train.source_ratio=0.0", "train.trap_weight=1.0")


def reset_units(model: LGM, weights: dict[str, Tensor]) -> list[str]:
    """The units of which every parameter is replaced; a unit is never replaced in part."""
    units = [unit for unit, members in model.units().items() if set(members) <= set(weights)]
    assert {member for unit in units for member in model.units()[unit]} == set(weights)
    return units


def test_one_to_most_whole_units_get_other_weights(micro: LGM, images: Tensor) -> None:
    reset = UnitReset(micro, 3, seed=0)
    counts = {len(reset_units(micro, dict(reset.place(step, images).weights))) for step in range(12)}
    assert counts == {1, 2, 3}


def test_more_than_there_are_is_all(micro: LGM, images: Tensor) -> None:
    assert UnitReset(micro, 10_000, seed=0).most == len(micro.units())


def test_fresh_weights_are_those_of_a_new_generator(micro: LGM, images: Tensor) -> None:
    weights = UnitReset(micro, 10_000, seed=0).place(4, images).weights
    fresh = {name: value for name, value in weights.items() if value.ndim == 4 and value.numel() > 500}
    assert fresh
    for name, value in fresh.items():
        torch.manual_seed(99)
        other = LGM.from_config(micro.config).get_parameter(name)
        assert value.std().item() == pytest.approx(other.detach().std().item(), rel=0.2)
        assert not value.equal(micro.get_parameter(name))
        assert not value.requires_grad


def test_it_depends_on_seed_and_step_alone(micro: LGM, images: Tensor) -> None:
    def draw(seed: int, step: int) -> dict[str, Tensor]:
        return dict(UnitReset(micro, 2, seed).place(step, images).weights)

    def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
        return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)

    first = draw(0, 5)
    state = torch.random.get_rng_state()
    assert equal(draw(0, 5), first)
    assert torch.random.get_rng_state().equal(state)
    assert not any(equal(draw(seed, step), first) for seed, step in ((0, 6), (1, 5)))


def test_units_that_the_defense_moved_are_drawn_more_often(micro: LGM, images: Tensor) -> None:
    reset = UnitReset(micro, 1, seed=0)
    count = len(micro.units())
    assert reset.chances().tolist() == pytest.approx([1 / count] * count)
    index = list(micro.units()).index("unet.conv_in")
    with torch.no_grad():
        for name in micro.units()["unet.conv_in"]:
            micro.get_parameter(name).mul_(1.5)
    chances = reset.chances()
    assert chances[index] == pytest.approx(0.5 + 0.5 / count)
    assert chances.sum() == pytest.approx(1)
    drawn = [reset_units(micro, dict(reset.place(step, images).weights))[0] for step in range(40)]
    assert 10 < drawn.count("unet.conv_in") < 32


def test_a_step_follows_the_gradient_of_the_others_at_the_reset_weights(
    make_objective: Callable[..., DefenseObjective], with_weights: Callable[..., LGM]
) -> None:
    objective = make_objective("robust.unit_reset=2", *ONLY_PLACES)
    model, images = objective.model, objective.target.batch(1, 2).images
    place = objective.mechanisms.places(1, images)["unit_reset"]
    before = copy.deepcopy(model.state_dict())
    terms = objective(1)
    objective.backward(terms)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())

    by_hand = with_weights(model, dict(place.weights))
    by_hand.zero_grad()
    loss = objective._aggregated(activate(by_hand(place.images)))
    loss.backward()
    assert terms["unit_reset_static"].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in place.weights:
            assert parameter.grad is None or not parameter.grad.any()
        else:
            theirs = by_hand.get_parameter(name).grad
            assert parameter.grad is not None
            assert theirs is not None
            assert (parameter.grad - theirs).norm() <= 1e-4 * theirs.norm() + 1e-8
