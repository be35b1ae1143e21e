from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_traps.scale import ScaleConfig, ScaleTrap

from geotrap_cli.gaussians import GaussianBatch, activate

Cloud = Callable[..., GaussianBatch]
MAGNITUDE = ScaleTrap(ScaleConfig(mode="magnitude"))


def test_known_value_is_the_mean_over_gaussians(cloud: Cloud) -> None:
    loss = ScaleTrap().loss(cloud(scales=torch.tensor([[[0.1, 0.02, 0.05], [0.03, 0.03, 0.03]]])))
    assert loss.item() == pytest.approx(-0.5 * math.log((1e-2 + 1e-6) / (4e-4 + 1e-6)), abs=1e-6)


def test_weights_choose_the_gaussians(cloud: Cloud) -> None:
    batch = cloud(scales=torch.tensor([[[0.1, 0.02, 0.05], [0.03, 0.03, 0.03]]]))
    loss = ScaleTrap().loss(batch, torch.tensor([[3.0, 1.0]]))
    assert loss.item() == pytest.approx(-0.75 * math.log((1e-2 + 1e-6) / (4e-4 + 1e-6)), abs=1e-6)


def test_spheres_of_any_size_score_zero(cloud: Cloud) -> None:
    sizes = torch.tensor([1e-9, 1e-3, 0.5, 3.0])[None, :, None].expand(1, 4, 3)
    assert ScaleTrap().loss(cloud(scales=sizes)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("thin", [1e-1, 1e-3, 1e-4, 1e-5])
def test_an_axis_shorter_than_a_thousandth_still_has_a_gradient(cloud: Cloud, thin: float) -> None:
    activated = cloud(scales=torch.tensor([[[0.2, 0.2, thin]]])).activated.requires_grad_()
    ScaleTrap().loss(GaussianBatch(activated)).sum().backward()
    assert activated.grad is not None
    assert activated.grad[0, 0, 6].item() == pytest.approx(2 * thin / (thin**2 + 1e-6), rel=1e-6)


@pytest.mark.parametrize("trap", [ScaleTrap(), MAGNITUDE], ids=["anisotropy", "magnitude"])
def test_thinning_deepens_steadily(cloud: Cloud, trap: ScaleTrap) -> None:
    path = [trap.loss(cloud(scales=torch.tensor([[[0.05, 0.05, 0.05 * 0.5**step]]]))).item() for step in range(14)]
    assert path == sorted(path, reverse=True)
    assert path[-1] < path[0] - 2.5


def test_magnitude_known_value(cloud: Cloud) -> None:
    loss = MAGNITUDE.loss(cloud(scales=torch.tensor([[[0.1, 0.01, 0.001]]])))
    assert loss.item() == pytest.approx(math.log(0.01), abs=1e-5)
    assert MAGNITUDE.upper_bound is None, "scales above one make the loss positive"
    assert MAGNITUDE.loss(cloud(scales=torch.full((1, 1, 3), 3.0))).item() > 1


def test_descent_makes_needles(healthy_raw: torch.Tensor) -> None:
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        ScaleTrap().loss(activate(raw)).sum().backward()
        optimizer.step()
    ratio = [
        scales.amax(-1) / scales.amin(-1) for scales in (activate(healthy_raw).scales, activate(raw.detach()).scales)
    ]
    assert (ratio[1] > 3 * ratio[0]).all()


def test_an_option_without_effect_is_refused() -> None:
    with pytest.raises(ValueError, match="epsilon acts in mode 'anisotropy' only"):
        ScaleConfig(mode="magnitude", epsilon=1e-3)
