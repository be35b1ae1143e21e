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
        deltas = {name: self._noise(tensor.detach(), generator) for name, tensor in self.model.named_parameters()}
        return Place(images, shifted(self.model, deltas))

    def _noise(self, tensor: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
        return noise * (self.sigma * tensor.square().mean().sqrt())
