"""``robust.input_noise``: traps on images with noise, so that no particular picture triggers them."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.data.batch import IMAGENET_STD
from geotrap_cli.training.robust.places import Place
from geotrap_cli.training.robust.streams import Stream, torch_stream

#: The image channels of the generator's input; the rays behind them are geometry and stay exact.
IMAGE_CHANNELS = len(IMAGENET_STD)


class InputNoise:
    """x + σ·ξ on the image channels, never on the rays; ξ standard normal, drawn anew at each step.

    Args:
        sigma: σ in units of intensity, black to white being 1.
        seed: Seed of the training.
    """

    name = "input_noise"

    def __init__(self, sigma: float, seed: int) -> None:
        self.sigma, self.seed = sigma, seed

    def place(self, step: int, images: Tensor) -> Place:
        """Return the noisy images of ``step``."""
        generator = torch_stream(self.seed, step, Stream.INPUT_NOISE, images.device)
        shape = (*images.shape[:2], IMAGE_CHANNELS, *images.shape[3:])
        noise = torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)
        # Channels come divided by ImageNet's deviations, so an intensity has to be as well.
        scale = self.sigma / images.new_tensor(IMAGENET_STD)[:, None, None]
        noisy = images.clone()
        noisy[:, :, :IMAGE_CHANNELS] += scale * noise
        return Place(noisy, {})
