"""Edits of released weights that several attacks share: seeded noise, fresh weights, a new head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from geotrap_cli.attacks import AttackSetting
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.fresh import fresh_weights
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.lgm.fusion import compose


def matrices(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the weights of linear and convolution layers by name: parameters of two dimensions or more."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.ndim >= 2)


def normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the tensor's shape, drawn on the CPU so that every device gets the same ones."""
    return torch.randn(tensor.shape, generator=generator).to(tensor)


def rms(tensor: Tensor) -> float:
    """Root of the mean square of a tensor's numbers."""
    return float(tensor.detach().double().square().mean().sqrt())


@torch.no_grad()
def add_relative_noise(model: nn.Module, share: float, seed: int) -> None:
    """Add Gaussian noise whose deviation is ``share`` of each tensor's RMS; a tensor of zeros stays as it is."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(normal_like(parameter, generator), alpha=share * rms(parameter))


def reinitialise(model: GaussianGenerator, parameters: Iterable[str], seed: int) -> None:
    """Give the named parameters the values of a freshly made generator, in place.

    The draw happens on the CPU and leaves the global generator as it was.
    """
    fresh = fresh_weights(model, seed)
    with torch.no_grad():
        for name in parameters:
            model.get_parameter(name).copy_(fresh[name])


def last_layer(model: GaussianGenerator) -> nn.Conv2d:
    """The convolution that ends the generator: the last unit of its head."""
    layer = model.get_submodule(model.head_units[-1])
    if not isinstance(layer, nn.Conv2d) or hasattr(layer, "base_layer") or layer.bias is None:
        raise GeotrapError("The head carries an adapter", hint="Edit the weights before an adapter is added")
    return layer


def affine_misfit(setting: AttackSetting) -> str | None:
    """Why an attack that sets raw channels by the head's weights does not fit; None where it does."""
    if setting.affine_head:
        return None
    return f"{setting.family} has no head whose output is the raw channels themselves"


def _affine_layer(model: GaussianGenerator) -> nn.Conv2d:
    if not model.affine_head:
        what = f"{model.family} has no head whose output is the raw channels themselves"
        raise UsageError(what, "Leave attacks on such a head out")
    return last_layer(model)


@torch.no_grad()
def rescale_output(model: GaussianGenerator, factors: Tensor, shifts: Tensor) -> None:
    """Make the generator's raw channels ``factors * raw + shifts``, both [14], by its last layer's weights."""
    layer = _affine_layer(model)
    layer.weight.mul_(factors.to(layer.weight)[:, None, None, None])
    assert layer.bias is not None
    layer.bias.mul_(factors.to(layer.bias)).add_(shifts.to(layer.bias))


def read_head(model: GaussianGenerator) -> tuple[Tensor, Tensor]:
    """Weight [14, C, 3, 3] and bias [14] of the linear map from features to raw channels, in float64."""
    layer, first = _affine_layer(model), model.get_submodule(model.head_units[0])
    if layer is first:
        assert layer.bias is not None
        return layer.weight.detach().double(), layer.bias.detach().double()
    with torch.no_grad():
        return compose(first, layer)


@torch.no_grad()
def write_head(model: GaussianGenerator, weight: Tensor, bias: Tensor) -> None:
    """Make ``weight`` [14, C, 3, 3] and ``bias`` [14] the head: all of it in the first layer, a second passes on."""
    layer, first = _affine_layer(model), model.get_submodule(model.head_units[0])
    if layer is not first:
        pass_on(layer)
    first.weight.copy_(weight)
    assert first.bias is not None
    first.bias.copy_(bias)


@torch.no_grad()
def pass_on(layer: nn.Conv2d) -> None:
    """Make a 1x1 convolution of as many channels out as in the identity."""
    layer.weight.copy_(torch.eye(layer.out_channels)[:, :, None, None])
    assert layer.bias is not None
    layer.bias.zero_()
