"""The step of methods that minimise traps on attributes follows its formula, with every trap written down again."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from geotrap_defenses.gausslock import GausslockConfig, GausslockDefense
from geotrap_defenses.geotrap import GeotrapDefense
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import open_model, open_workbench

EPSILON = 1e-6
Theta = dict[str, Tensor]


def stretched(rows: Tensor, centred: bool = True) -> Tensor:
    """−log((λmax + ε)/(λmin + ε)) of the second moment of rows [N, 3]."""
    rows = rows - rows.mean(0) if centred else rows
    spread = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    return -torch.log((spread[2] + EPSILON) / (spread[0] + EPSILON))


def upright(quats: Tensor) -> Tensor:
    """The z axes that unit quaternions [N, 4] turn to."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack((2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)), dim=-1)


def transparent(opacities: Tensor, share: float) -> Tensor:
    """Mean logarithm of the largest opacities of one object."""
    most = opacities.sort(descending=True).values[: math.ceil(share * len(opacities))]
    return torch.log((most + EPSILON) / (1 + EPSILON)).mean()


def five_traps(gaussians: GaussianBatch, share: float) -> Tensor:
    """Position, scale, opacity, rotation and color of each object, [5, B]."""
    columns = []
    for index in range(len(gaussians)):
        squares = gaussians.scales[index].square() + EPSILON
        needles = -torch.log(squares.amax(-1) / squares.amin(-1)).mean()
        position, color = stretched(gaussians.means[index]), stretched(gaussians.rgb[index])
        rotation = stretched(upright(gaussians.quats[index]), centred=False)
        columns.append(
            torch.stack((position, needles, transparent(gaussians.opacities[index], share), rotation, color))
        )
    return torch.stack(columns, dim=1)


def locked(tiny: Any, theta: Theta, aggregation: str, temperature: float) -> Tensor:
    traps = five_traps(tiny.gaussians(tiny.target.images, theta), 0.25)
    if aggregation == "mean":
        return traps.mean()
    return (temperature * torch.log(torch.exp(traps / temperature).sum(0))).mean()


@pytest.mark.parametrize(("aggregation", "temperature"), [("logsumexp", 0.25), ("logsumexp", 2.0), ("mean", 0.25)])
def test_gausslock_descends_five_traps_beside_the_retention(tiny: Any, aggregation: str, temperature: float) -> None:
    options: dict[str, Any] = {
        "aggregation": aggregation,
        "temperature": temperature,
        "top_fraction": 0.25,
        "energy_cap": 0.0,
    }

    def objective(theta: Theta) -> Tensor:
        return tiny.p * tiny.kept(theta) + tiny.q * 5 * locked(tiny, theta, aggregation, temperature)

    tiny.follows(GausslockDefense(GausslockConfig(weight=5.0, **options)), objective)


def test_gausslock_may_lower_the_logits_of_the_most_opaque(tiny: Any) -> None:
    images, defense = tiny.target.images, GausslockDefense(GausslockConfig(opacity="logit", energy_cap=0.0))

    def objective(theta: Theta) -> Tensor:
        gaussians = tiny.gaussians(images, theta)
        traps = five_traps(gaussians, 0.02)
        # Two per cent of twelve Gaussians is one.
        traps = torch.cat((traps[:2], gaussians.opacities.logit().amax(1)[None], traps[3:]))
        own = (0.25 * torch.logsumexp(traps / 0.25, 0)).mean()
        return tiny.p * tiny.kept(theta) + tiny.q * 20 * own

    tiny.follows(defense, objective)


def test_gausslock_caps_the_energy_of_a_tensor_on_the_traps_alone(tiny: Any) -> None:
    kappa = 1.1
    found = tiny.step(GausslockDefense(GausslockConfig(weight=5.0, top_fraction=0.25, energy_cap=kappa)))
    trap = tiny.gradient(lambda theta: tiny.q * 5 * locked(tiny, theta, "logsumexp", 0.25))
    kept = tiny.gradient(lambda theta: tiny.p * tiny.kept(theta))
    energies = {name: float(value.square().sum()) for name, value in trap.items()}
    limit = kappa * sum(energies.values()) / len(energies)
    factors = {name: math.sqrt(min(1.0, limit / energy)) for name, energy in energies.items()}
    assert min(factors.values()) < 0.95
    tiny.agree(found, {name: kept[name] + factors[name] * trap[name] for name in trap})


def moved_from(teacher: torch.nn.Module) -> Any:
    """A copy whose weights are a little elsewhere, so that the distillation is not zero."""
    model, random = copy.deepcopy(teacher), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))
    return model


@pytest.fixture
def context(load_mini: Callable[..., LoadedProfile]) -> DefenseContext:
    """What the traps of the mini profile are trained with."""
    weights = ("traps.position.weight=2.0", "traps.opacity.weight=0.5", "aggregation.method=sum")
    factors = ("train.source_ratio=0.6", "train.trap_weight=7.0", "retain.weight=30.0", "retain.power=1")
    profile, cpu = load_mini(*weights, *factors).profile, torch.device("cpu")
    teacher = open_model(profile, cpu)
    model = moved_from(teacher)
    trained = select_parameters(model, ["unet.mid_block.nets.0"], freeze_head=True)
    return DefenseContext(open_workbench(profile, cpu, model), model, teacher, trained, TrapSet.from_profile(profile))


def test_geotrap_descends_the_profiles_traps_beside_the_retention(context: DefenseContext) -> None:
    defense = GeotrapDefense()
    defense.prepare(context)
    objective: Any = defense.objective(context)
    terms = objective(4)
    objective.backward(terms)
    target, source = (context.gaussians(side.batch(4, 2).images) for side in (objective.target, objective.source))
    taught = context.taught(objective.source.batch(4, 2).images)
    traps = [
        2 * stretched(means.double()) + 0.5 * transparent(o.double(), 1.0)
        for means, o in zip(target.means, target.opacities, strict=True)
    ]
    total = 0.6 * 30 * (source.activated - taught.activated).abs().mean() + 0.4 * 7 * torch.stack(traps).mean()
    assert terms["total"].item() == pytest.approx(total.item(), rel=1e-5)
    for parameter, expected in zip(context.parameters, torch.autograd.grad(total, context.parameters), strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - expected).norm() <= 1e-3 * expected.norm()
