"""Edits of released weights that several attacks share: seeded noise, fresh weights, a new head."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import NUM_CHANNELS
from geotrap_cli.models.lgm.fusion import compose
from geotrap_cli.models.lgm.model import LGM


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


def reinitialise(modules: Iterable[nn.Module], seed: int) -> None:
    """Give every layer inside ``modules`` the weights PyTorch gives a fresh one, in place.

    The draw happens on the CPU and leaves the global generator as it was.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in modules:
            fresh = copy.deepcopy(module).cpu()
            for layer in fresh.modules():
                if callable(reset := getattr(layer, "reset_parameters", None)):
                    reset()
            module.load_state_dict(fresh.state_dict())


def last_layer(model: LGM) -> nn.Conv2d:
    """The convolution that ends the generator: the 1x1 ``conv``, or ``unet.conv_out`` of a fused head."""
    layer = model.unet.conv_out if isinstance(model.conv, nn.Identity) else model.conv
    if type(layer) is not nn.Conv2d or layer.bias is None:
        raise GeotrapError("The head carries an adapter", hint="Edit the weights before an adapter is added")
    return layer


@torch.no_grad()
def rescale_output(model: LGM, factors: Tensor, shifts: Tensor) -> None:
    """Make the generator's raw channels ``factors * raw + shifts``, both [14], by its last layer's weights."""
    layer = last_layer(model)
    layer.weight.mul_(factors.to(layer.weight)[:, None, None, None])
    assert layer.bias is not None
    layer.bias.mul_(factors.to(layer.bias)).add_(shifts.to(layer.bias))


def read_head(model: LGM) -> tuple[Tensor, Tensor]:
    """Weight [14, C, 3, 3] and bias [14] of the linear map from features to raw channels, in float64."""
    if isinstance(model.conv, nn.Identity):
        layer = last_layer(model)
        assert layer.bias is not None
        return layer.weight.detach().double(), layer.bias.detach().double()
    last_layer(model)
    with torch.no_grad():
        return compose(model.unet.conv_out, model.conv)  # type: ignore[arg-type]


@torch.no_grad()
def write_head(model: LGM, weight: Tensor, bias: Tensor) -> None:
    """Make ``weight`` [14, C, 3, 3] and ``bias`` [14] the head: all of it in ``unet.conv_out``, ``conv`` passes on."""
    if not isinstance(model.conv, nn.Identity):
        pass_on(last_layer(model))
    model.unet.conv_out.weight.copy_(weight)
    assert model.unet.conv_out.bias is not None
    model.unet.conv_out.bias.copy_(bias)


@torch.no_grad()
def pass_on(layer: nn.Conv2d) -> None:
    """Make a 1x1 convolution of as many channels out as in the identity."""
    layer.weight.copy_(torch.eye(NUM_CHANNELS)[:, :, None, None])
    assert layer.bias is not None
    layer.bias.zero_()
