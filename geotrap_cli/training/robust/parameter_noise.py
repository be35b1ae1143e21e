"""``robust.parameter_noise``: traps at weights with noise, so that no narrow dent in weight space is enough."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geotrap_cli.training.robust.places import Place, shifted
from geotrap_cli.training.robust.streams import Stream, torch_stream


class ParameterNoise:
    """θ + σ·RMS(θ_t)·ξ for every tensor θ_t of the generator, ξ standard normal, drawn anew at each step.

    Relative to each tensor: one absolute σ would drown small tensors and miss large ones. A tensor of zeros stays.

    Args:
        model: The generator; frozen tensors get noise too, as an attacker may move all of them.
        sigma: σ, in units of each tensor's root mean square.
        seed: Seed of the training.
    """

    name = "parameter_noise"

    def __init__(self, model: nn.Module, sigma: float, seed: int) -> None:
        self.model, self.sigma, self.seed = model, sigma, seed

    def place(self, step: int, images: Tensor) -> Place:
        """Return the noisy weights of ``step``."""
        generator = torch_stream(self.seed, step, Stream.PARAMETER_NOISE, images.device)
        own = self.model.named_parameters()
        deltas = {name: relative_noise(tensor.detach(), self.sigma, generator) for name, tensor in own}
        return Place(images, shifted(self.model, deltas))


def relative_noise(tensor: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Return σ·RMS(tensor)·ξ of the tensor's shape; ``generator`` is on its device."""
    noise = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
    return noise * (sigma * tensor.square().mean().sqrt())
