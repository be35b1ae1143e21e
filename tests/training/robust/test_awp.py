from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.robust.awp import AdversarialWeights


def opacity(gaussians: GaussianBatch) -> Tensor:
    return gaussians.opacities.log().mean()


def move(
    model: LGM, images: Tensor, rho: float, loss: Callable[[GaussianBatch], Tensor] = opacity
) -> dict[str, Tensor]:
    """δ by parameter name."""
    weights = AdversarialWeights(model, loss, rho, "fp32").place(0, images).weights
    return {name: weights[name].detach() - value.detach() for name, value in model.named_parameters()}


def test_the_step_goes_up_the_gradient_with_length_rho(micro: LGM, images: Tensor) -> None:
    deltas = move(micro, images, 0.3)
    opacity(activate(micro(images))).backward()
    gradient = {name: value.grad for name, value in micro.named_parameters()}
    norm = torch.cat([part.flatten() for part in gradient.values() if part is not None]).norm()
    assert torch.cat([delta.flatten() for delta in deltas.values()]).norm().item() == pytest.approx(0.3, rel=1e-4)
    for name, part in gradient.items():
        assert part is not None
        assert torch.allclose(deltas[name], 0.3 * part / norm, atol=1e-6)


def test_the_traps_are_shallower_there(micro: LGM, images: Tensor) -> None:
    values = []
    for rho in (0.0001, 0.05, 0.2):
        place = AdversarialWeights(micro, opacity, rho, "fp32").place(0, images)
        values.append(opacity(activate(torch.func.functional_call(micro, dict(place.weights), (images,)))).item())
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.01


def test_frozen_weights_are_perturbed_too_and_nothing_is_left_behind(micro: LGM, images: Tensor) -> None:
    micro.requires_grad_(False)
    micro.unet.mid_block.requires_grad_(True)
    deltas = move(micro, images, 0.3)
    assert deltas["unet.conv_out.weight"].abs().max() > 0
    assert not micro.unet.conv_out.weight.requires_grad
    assert all(value.grad is None for value in micro.parameters())


def test_without_a_direction_the_place_is_where_the_weights_are(micro: LGM, images: Tensor) -> None:
    deltas = move(micro, images, 0.3, lambda gaussians: 0 * gaussians.means.sum())
    assert all(delta.abs().max() == 0 for delta in deltas.values())


def test_a_gradient_that_is_nan_is_not_hidden(micro: LGM, images: Tensor) -> None:
    deltas = move(micro, images, 0.3, lambda gaussians: float("nan") * gaussians.means.sum())
    assert any(delta.isnan().any() for delta in deltas.values())
