"""The gradient of a place is the gradient at weights that were perturbed by hand, and nothing has to be put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.robust.places import Place, gaussians_at, shifted

Make = Callable[..., DefenseObjective]
#: The traps alone in the total, and only at the places of the mechanisms.
ONLY_PLACES = ("robust.clean_weight=0.0", "train.source_ratio=0.0", "train.trap_weight=1.0")
MECHANISMS = {
    "parameter_noise": ("robust.parameter_noise=0.2",),
    "input_noise": ("robust.input_noise=0.3",),
    "awp": ("robust.awp=0.5",),
    "unrolled": ("robust.unrolled.steps=2", "robust.unrolled.lrs=0.01"),
    "head_attack": ("robust.head_attack.steps=2", "robust.head_attack.lr=0.02"),
}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def as_one(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.double().flatten() for part in parts.values()])


def cosine(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return float(torch.nn.functional.cosine_similarity(as_one(first), as_one(second), dim=0))


@pytest.mark.parametrize(
    ("name", "checkpointing"), [*((name, False) for name in MECHANISMS), ("parameter_noise", True)]
)
def test_a_step_follows_the_gradient_at_the_perturbed_place(
    make_objective: Make, with_weights: Callable[..., LGM], name: str, checkpointing: bool
) -> None:
    stated = f"model.gradient_checkpointing={str(checkpointing).lower()}"
    objective = make_objective(*MECHANISMS[name], *ONLY_PLACES, stated)
    model = objective.model
    images = objective.target.batch(1, 2).images
    place = objective.mechanisms.places(1, images)[name]
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    terms = objective(1)
    objective.backward(terms)
    assert all(value.equal(before[key]) for key, value in model.named_parameters())

    by_hand = with_weights(model, place.weights)
    by_hand.zero_grad()
    by_hand.disable_gradient_checkpointing()
    loss = objective._aggregated(activate(by_hand(place.images)))
    loss.backward()
    assert terms[f"{name}_static"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert terms["total"].item() == pytest.approx(loss.item(), rel=1e-5)
    mine, theirs = gradients(model), gradients(by_hand)
    assert mine.keys() == theirs.keys()
    assert (as_one(mine) - as_one(theirs)).norm() < 1e-4 * as_one(theirs).norm()

    # The place is far enough from θ for the gradient there to be another one.
    model.zero_grad()
    objective._aggregated(activate(model(images))).backward()
    assert cosine(gradients(model), theirs) < 0.999


def test_restoring_before_backward_would_be_noticed(make_objective: Make, with_weights: Callable[..., LGM]) -> None:
    """The classic fault, perturb, forward, restore, backward, does not give the gradient at the perturbed weights."""
    objective = make_objective("robust.parameter_noise=0.2", *ONLY_PLACES)
    images = objective.target.batch(1, 2).images
    weights = objective.mechanisms.places(1, images)["parameter_noise"].weights
    faulty = with_weights(objective.model, dict(weights))
    loss = objective._aggregated(activate(faulty(images)))
    for name, value in faulty.named_parameters():
        value.data.copy_(objective.model.get_parameter(name).data)
    loss.backward()
    objective.backward(objective(1))
    assert cosine(gradients(faulty), gradients(objective.model)) < 0.999


@pytest.mark.parametrize("weight", [1.0, 3.0, 0.0])
def test_places_are_averaged_with_the_clean_weight(make_objective: Make, weight: float) -> None:
    objective = make_objective("robust.input_noise=0.3", "robust.parameter_noise=0.2", f"robust.clean_weight={weight}")
    terms = objective(0)
    clean = (terms["position_static"] + terms["opacity_static"]) / 2
    mean = (weight * clean + terms["input_noise_static"] + terms["parameter_noise_static"]) / (weight + 2)
    train, retain = objective.bench.profile.train, objective.bench.profile.retain
    expected = 0.8 * retain.weight * terms["distill"] + 0.2 * train.trap_weight * mean
    assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_only_reported_has_no_graph(make_objective: Make) -> None:
    for weight, has_graph in ((0.0, False), (1.0, True)):
        objective = make_objective("robust.input_noise=0.3", f"robust.clean_weight={weight}")
        assert objective(0)["position_static"].requires_grad is has_graph


def test_a_shift_is_constant_and_leaves_other_weights_alone() -> None:
    model = nn.Linear(3, 2)
    delta = torch.full((2,), 0.5, requires_grad=True)
    weights = shifted(model, {"bias": 2 * delta})
    assert weights.keys() == {"bias"}
    weights["bias"].sum().backward()
    assert delta.grad is None
    assert model.bias.grad is not None
    assert model.bias.grad.tolist() == [1.0, 1.0]
    assert weights["bias"].tolist() == (model.bias + 1.0).tolist()


def test_a_place_without_weights_is_the_model_itself(micro: LGM, images: Tensor) -> None:
    mine = gaussians_at(micro, Place(images, {}), "fp32", torch.device("cpu"))
    assert mine.activated.equal(micro.forward_gaussians(images).activated)
