from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.estimators import exact
from geotrap_cli.sensitivity.gradients import UnitParameters, gradient_norms
from geotrap_cli.sensitivity.measures import ATTRIBUTES, attack_measure, jacobian_measure, trap_measure
from geotrap_cli.training.losses import ReconstructionLoss
from geotrap_cli.training.trap_set import load_trap

NO_VIEWS: Any = None


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(1))


def test_traps_are_their_losses(micro: LGM, images: torch.Tensor) -> None:
    traps = {key: load_trap(key) for key in ("position", "opacity")}
    gaussians = micro.forward_gaussians(images)
    scalars = trap_measure(traps)(gaussians, NO_VIEWS, 0)
    assert list(scalars) == ["position", "opacity"]
    for key, (scalar,) in scalars.items():
        assert scalar.shape == ()
        torch.testing.assert_close(scalar, traps[key].loss(gaussians)[0])


def test_one_backward_pass_a_trap_serves_all_units(micro: LGM, images: torch.Tensor) -> None:
    units = UnitParameters.of(micro, micro.units())
    traps = {key: load_trap(key) for key in ("position", "scale")}
    found = gradient_norms(trap_measure(traps)(micro.forward_gaussians(images), NO_VIEWS, 0), units)
    for key, trap in traps.items():
        micro.zero_grad()
        trap.loss(micro.forward_gaussians(images)).sum().backward()
        for unit, names in micro.units().items():
            flat = [micro.get_parameter(name).grad for name in names]
            norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in flat if grad is not None))
            assert found[key][units.names.index(unit)] == pytest.approx(norm, rel=1e-4, abs=1e-9)


def test_the_attack_is_the_rendering_loss(micro: LGM, images: torch.Tensor) -> None:
    viewmats = torch.stack([orbit_viewmats(0.0, azimuth) for azimuth in (0.0, 90.0)])[None].float()
    Ks = intrinsics_from_fov(math.radians(49.1), 16, 16).float().expand(1, 2, 3, 3)
    views = type("Views", (), {})()
    views.cameras = Cameras(viewmats, Ks, 16, 16)
    views.rgb, views.alpha = torch.ones(1, 2, 16, 16, 3), torch.zeros(1, 2, 16, 16)
    loss = ReconstructionLoss(rgb_weight=2.0)
    gaussians = micro.forward_gaussians(images)
    (scalar,) = attack_measure(loss)(gaussians, views, 0)["attack"]
    terms = loss(gaussians, views)
    torch.testing.assert_close(scalar, terms["rgb"] + terms["alpha"])
    assert scalar > 0


def test_the_jacobian_norm_is_met_within_its_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(14, 2, generator=generator))
    gaussians = activate(torch.randn(1, 3, 2, generator=generator) @ weight.T)
    model = torch.nn.Module()
    model.weight = weight
    units = UnitParameters.of(model, {"head": ["weight"]})
    found = gradient_norms(jacobian_measure(150, seed=3)(gaussians, NO_VIEWS, 0), units)
    assert tuple(found) == ATTRIBUTES
    for name in ATTRIBUTES:
        truth = float(exact(gaussians.attribute(name), [weight])) ** 0.5
        assert found[name][0] == pytest.approx(truth, rel=0.2)


def test_the_signs_depend_on_seed_and_place_alone(micro: LGM, images: torch.Tensor) -> None:
    gaussians = micro.forward_gaussians(images)

    def values(seed: int, place: int) -> list[float]:
        return [probe.item() for probe in jacobian_measure(2, seed)(gaussians, NO_VIEWS, place)["means"]]

    assert values(1, 0) == values(1, 0)
    assert values(1, 0) != values(1, 1)
    assert values(1, 0) != values(2, 0)
    assert len(set(values(1, 0))) == 2
