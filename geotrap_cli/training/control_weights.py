"""Weights to compare a defense with: random ones, and noise of the same length as what the defense changed."""

from __future__ import annotations

import math

import torch

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.meta import meta_model

# The weights under attack may be random as well. Seeds of a profile are below this; the CPU's generator takes 32 bits.
_FIRST_SEED = 2**31


def scratch_model(profile: Profile, device: torch.device) -> GaussianGenerator:
    """Return the profile's architecture with PyTorch's random weights, drawn by ``attack.seed``."""
    like = meta_model(profile)
    torch.manual_seed(_FIRST_SEED + profile.attack.seed)
    return type(like).from_config(like.config).to(device).eval()


@torch.no_grad()
def add_matched_noise(undefended: GaussianGenerator, defended: GaussianGenerator, seed: int) -> GaussianGenerator:
    """Move ``undefended`` in a random direction as far as the defense did, unit by unit, and return it.

    With θ_0 and θ_I of one unit, it becomes θ_0 + ‖θ_I − θ_0‖₂·n/‖n‖₂ with n ~ N(0, 1) over all values of the unit: a
    defense that is no better than this owes its effect to distance alone.

    Args:
        undefended: The weights before the defense; changed in place.
        defended: The weights after it.
        seed: Of the noise, which is drawn on the CPU and so the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    for names in undefended.units().values():
        own = [undefended.get_parameter(name) for name in names]
        noise = [torch.randn(parameter.shape, generator=generator) for parameter in own]
        moved = _length([defended.get_parameter(name) - before for name, before in zip(names, own, strict=True)])
        for parameter, direction in zip(own, noise, strict=True):
            parameter += (direction * (moved / _length(noise))).to(parameter.device)
    return undefended


def _length(tensors: list[torch.Tensor]) -> float:
    """Return the L2 norm of all values together."""
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))
