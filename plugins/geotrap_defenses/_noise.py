"""Noise on what a defense trains, relative to the size of each tensor."""

from __future__ import annotations

import torch

from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.parameter_noise import relative_noise
from geotrap_cli.training.robust.streams import Stream, derived_seed


@torch.no_grad()
def add_noise(context: DefenseContext, sigma: float) -> None:
    """Add σ·RMS(θ_t)·ξ to each trained tensor, in place; drawn on the CPU, and so the same on every device."""
    generator = torch.Generator().manual_seed(derived_seed(context.seed, Stream.DEFENSE_NOISE))
    for parameter in context.parameters:
        parameter.add_(relative_noise(parameter.cpu(), sigma, generator).to(parameter.device))
