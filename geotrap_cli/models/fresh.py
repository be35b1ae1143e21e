"""Weights of a generator that was just made, for what forgets or is trained from scratch."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.models.generator import GaussianGenerator


def fresh_weights(like: GaussianGenerator, seed: int) -> dict[str, Tensor]:
    """Return the parameters of a new generator like ``like``, by name, drawn by ``seed``.

    On the CPU, so that every device gets the same ones; the global generator of random numbers there stays as it was.
    """
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.manual_seed(seed)
        fresh = type(like).from_config(like.config)
    return {name: parameter.detach() for name, parameter in fresh.named_parameters()}
