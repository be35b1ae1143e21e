"""Methods that take an attacker's step first: it moves all of several tensors, a frozen head among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest
import torch
from geotrap_defenses.booster import BoosterConfig, BoosterDefense
from geotrap_defenses.ctrap import CtrapConfig, CtrapDefense
from geotrap_defenses.sam_awp import SamAwpConfig, SamAwpDefense, layerwise
from torch import Tensor

Theta = dict[str, Tensor]


def uphill(tiny: Any, weights: Theta) -> Theta:
    """∇L over all weights."""
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    return dict(zip(leaves, torch.autograd.grad(tiny.attacked(leaves), list(leaves.values())), strict=True))


def length(tensors: Mapping[str, Tensor]) -> float:
    return float(torch.cat([tensor.flatten() for tensor in tensors.values()]).norm())


def moved(tiny: Any, theta: Theta, step: Theta) -> Theta:
    """All weights a step away, the trained ones from θ."""
    own = {**tiny.everything(), **theta}
    return {name: value + step[name] for name, value in own.items()}


def normalised(gradient: Theta, radius: float) -> Theta:
    return {name: -radius * part / length(gradient) for name, part in gradient.items()}


def tensorwise(weights: Theta, gradient: Theta, rho: float) -> Theta:
    return {name: -rho * weights[name].norm() * part / part.norm() for name, part in gradient.items()}


def test_booster_steps_along_the_gradient_of_all_weights(tiny: Any) -> None:
    here = uphill(tiny, tiny.everything())
    there = uphill(tiny, moved(tiny, {}, normalised(here, 0.4)))
    kept = tiny.gradient(lambda theta: tiny.p * tiny.kept(theta))
    found = tiny.step(BoosterDefense(BoosterConfig(weight=30.0, radius=0.4, cap=5.0)))
    tiny.agree(found, {name: kept[name] + tiny.q * 30 * (here[name] - there[name]) for name in kept})


def test_ctrap_collapses_after_a_step_of_all_weights(tiny: Any) -> None:
    step = {name: -5 * part for name, part in uphill(tiny, tiny.everything()).items()}

    def objective(theta: Theta) -> Tensor:
        found = tiny.gaussians(tiny.source.images, moved(tiny, theta, step))
        collapse = (found.means**2).sum(-1).mean() + (found.opacities**2).mean()
        return tiny.p * tiny.kept(theta) + tiny.q * 20 * collapse

    tiny.follows(CtrapDefense(CtrapConfig(weight=20.0, lr=5.0)), objective)


@pytest.mark.parametrize("mode", ["sam", "awp"])
def test_sam_has_one_length_and_awp_one_a_tensor(tiny: Any, mode: Literal["sam", "awp"]) -> None:
    weights = tiny.everything()
    gradient = uphill(tiny, weights)
    step = normalised(gradient, 0.3) if mode == "sam" else tensorwise(weights, gradient, 0.3)

    def objective(theta: Theta) -> Tensor:
        return tiny.p * tiny.kept(theta) - tiny.q * 30 * tiny.attacked(moved(tiny, theta, step))

    tiny.follows(SamAwpDefense(SamAwpConfig(mode=mode, weight=30.0, rho=0.3, cap=5.0)), objective)


def test_a_layerwise_step_is_as_long_in_each_tensor_as_a_share_of_it(tiny: Any) -> None:
    weights = tiny.everything()
    gradient = {name: torch.ones_like(value) for name, value in weights.items()} | {
        "body.bias": torch.zeros_like(weights["body.bias"])
    }
    for name, part in layerwise(tiny.context.model, gradient, 0.2).items():
        share = 0.0 if name == "body.bias" else 0.2
        assert float(part.norm()) == pytest.approx(share * float(weights[name].norm()), rel=1e-9)
