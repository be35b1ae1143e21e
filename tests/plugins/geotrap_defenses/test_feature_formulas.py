"""The step of methods that look at features follows its formula: written down again as matrices, and differentiated."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from geotrap_defenses._mix import backward
from geotrap_defenses.condition_number import ConditionNumberConfig, ConditionNumberDefense
from geotrap_defenses.mlac import MlacConfig, MlacDefense
from geotrap_defenses.ntl import NtlConfig, NtlDefense
from geotrap_defenses.repnoise import RepnoiseConfig, RepnoiseDefense
from geotrap_defenses.tar import TarConfig, TarDefense
from torch import Tensor

from geotrap_cli.training.robust.streams import Stream, torch_stream

Theta = dict[str, Tensor]


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """MMD² with five kernels, over all pairs of rows; the bandwidth is constant."""
    rows = torch.cat((first, second))
    squares = (rows[:, None] - rows[None]).square().sum(-1)
    bandwidth = (squares.sum() / (len(rows) * (len(rows) - 1))).detach()
    kernel = torch.stack([torch.exp(-squares / (bandwidth * scale)) for scale in (0.25, 0.5, 1, 2, 4)]).sum(0)
    count = len(first)
    return kernel[:count, :count].mean() + kernel[count:, count:].mean() - 2 * kernel[:count, count:].mean()


@pytest.mark.parametrize(("noise_weight", "ascent_weight"), [(2.0, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_repnoise_nears_noise_at_every_layer_and_climbs_the_logarithm(
    tiny: Any, noise_weight: float, ascent_weight: float
) -> None:
    images, random = tiny.target.images, torch_stream(3, 5, Stream.DEFENSE_NOISE, torch.device("cpu"))
    noise = [torch.randn(24, channels, generator=random).double() for channels in (3, 14)]

    def objective(theta: Theta) -> Tensor:
        layers = tiny.hidden(images, theta), tiny.raw(images, theta)
        near = sum(discrepancy(*pair) for pair in zip(layers, noise, strict=True)) / 2
        own = noise_weight * near - ascent_weight * tiny.attacked(theta).log()
        return tiny.p * tiny.kept(theta) + tiny.q * 4 * own

    config = RepnoiseConfig(weight=4.0, noise_weight=noise_weight, ascent_weight=ascent_weight)
    tiny.follows(RepnoiseDefense(config), objective, step=5)


def moments(rows: Tensor) -> Tensor:
    """XᵀX/n, and what is added to its diagonal."""
    outer = torch.stack([row[:, None] * row[None] for row in rows])
    return outer.mean(0) + 1e-6 * torch.eye(rows.shape[1], dtype=rows.dtype)


def well(S: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(S, 2) ** 2 / 2 - S.square().sum() / (2 * len(S))


def ill(S: Tensor) -> Tensor:
    return 1 / (S.square().sum() / (2 * len(S)) - torch.linalg.matrix_norm(S, -2) ** 2 / 2)


@pytest.mark.parametrize(("well_weight", "ill_weight"), [(2.0, 0.01), (0.0, 0.3), (5.0, 1e-9)])
def test_condition_numbers_go_down_on_the_source_and_up_on_the_target(
    tiny: Any, well_weight: float, ill_weight: float
) -> None:
    def objective(theta: Theta) -> Tensor:
        source, target = (moments(tiny.hidden(side.images, theta).tanh()) for side in (tiny.source, tiny.target))
        return tiny.p * tiny.kept(theta) + tiny.q * (well_weight * well(source) + ill_weight * ill(target))

    defense = ConditionNumberDefense(ConditionNumberConfig(well_weight=well_weight, ill_weight=ill_weight))
    tiny.follows(defense, objective)


def pushed(tiny: Any, theta: Theta) -> Tensor:
    """K(target)·MMD between the source's features and the target's."""
    features = [tiny.hidden(side.images, theta) for side in (tiny.source, tiny.target)]
    return tiny.apart(tiny.target.images, theta) * discrepancy(*features)


def test_ntl_drives_target_outputs_away_along_with_their_features(tiny: Any) -> None:
    def objective(theta: Theta) -> Tensor:
        return tiny.p * tiny.kept(theta) - tiny.q * 100 * 0.2 * pushed(tiny, theta)

    tiny.follows(NtlDefense(NtlConfig(weight=100.0, factor=0.2, cap=5.0)), objective)


def test_ntl_rests_where_the_product_is_at_its_bound(tiny: Any) -> None:
    bound = 0.2 * float(pushed(tiny, tiny.context.trained).detach())
    tiny.follows(
        NtlDefense(NtlConfig(weight=100.0, factor=0.2, cap=0.9 * bound)), lambda theta: tiny.p * tiny.kept(theta)
    )


@pytest.mark.parametrize("hidden_weight", [0.0, 2.0])
def test_tar_keeps_hidden_features_of_source_objects(tiny: Any, hidden_weight: float) -> None:
    def objective(theta: Theta) -> Tensor:
        moved = tiny.hidden(tiny.source.images, theta) - tiny.hidden(tiny.source.images)
        kept = tiny.kept(theta) + hidden_weight * moved.norm(dim=1).mean()
        trap = tiny.gaussians(tiny.target.images, theta).opacities.log().mean()
        return tiny.p * kept + tiny.q * 2 * trap

    tiny.follows(TarDefense(TarConfig(weight=2.0, hidden_weight=hidden_weight)), objective)


def undecoded(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Share of the variance of the targets that ridge regression with a constant head leaves."""
    x, y = features - features.mean(0), targets - targets.mean(0)
    penalty = ridge * x.square().sum(0).mean() * torch.eye(x.shape[1], dtype=x.dtype)
    head = torch.linalg.solve(x.T @ x + penalty, x.T @ y).detach()
    return (y - x @ head).square().sum() / y.square().sum()


def scores(tiny: Any, theta: Theta, config: MlacConfig) -> list[Tensor]:
    """The score after each step of plain descent on the squared distance of raw channels."""
    images, found = tiny.target.images, []
    taught = tiny.raw(images)
    for _ in range(config.inner_steps):
        loss = (tiny.raw(images, theta) - taught).square().mean()
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=config.second_order)
        theta = {name: theta[name] - config.lr * slope for name, slope in zip(theta, slopes, strict=True)}
        found.append(undecoded(tiny.hidden(images, theta).tanh(), taught, config.ridge))
    return found


@pytest.mark.parametrize("second_order", [True, False])
def test_mlac_climbs_what_no_head_decodes_after_the_attack(tiny: Any, second_order: bool) -> None:
    config = MlacConfig(inner_steps=2, lr=0.5, weight=40.0, cap=1.0, ridge=0.05, second_order=second_order)

    def objective(theta: Theta) -> Tensor:
        found = torch.stack(scores(tiny, theta, config))
        return tiny.p * tiny.kept(theta) - tiny.q * 40 * torch.log(found + 1e-6).mean()

    tiny.follows(MlacDefense(config), objective)


def test_mlac_rests_at_each_place_that_is_bad_enough(tiny: Any) -> None:
    config = MlacConfig(inner_steps=2, lr=0.5, weight=40.0, ridge=0.05)
    start = {name: value.detach().requires_grad_() for name, value in tiny.context.trained.items()}
    first, last = (float(score.detach()) for score in scores(tiny, start, config))
    bounded = MlacDefense(config.model_copy(update={"cap": (first + last) / 2}))
    least = 0 if first < last else 1

    def objective(theta: Theta) -> Tensor:
        return tiny.p * tiny.kept(theta) - tiny.q * 40 * torch.log(scores(tiny, theta, config)[least] + 1e-6) / 2

    tiny.follows(bounded, objective)


def test_mlac_leaves_the_undefended_weights_where_the_score_is_at_its_least(tiny: Any) -> None:
    model, config = tiny.context.model, MlacConfig(inner_steps=1)
    model.load_state_dict(tiny.context.teacher.state_dict())
    optimizer, defense, found = torch.optim.Adam(tiny.context.parameters, lr=1e-2), MlacDefense(config), []
    for step in range(12):
        optimizer.zero_grad()
        defense.prepare(tiny.context)
        found.append(defense.step(tiny.context, tiny.source, tiny.target, step)["undecoded"])
        optimizer.step()
    assert found[-1] > 100 * found[0] > 0


@pytest.mark.parametrize("defense", [MlacDefense(), ConditionNumberDefense()])
def test_a_weight_that_is_not_finite_is_reported_by_the_terms(tiny: Any, defense: Any) -> None:
    tiny.context.model.body.weight.data[0] = torch.nan
    defense.prepare(tiny.context)
    if isinstance(defense, MlacDefense):
        found = defense.step(tiny.context, tiny.source, tiny.target, 0)
    else:
        found = backward(defense.losses(tiny.source, tiny.target, 0))
    assert all(math.isnan(found[name]) for name in ("total", *type(defense).shows))
