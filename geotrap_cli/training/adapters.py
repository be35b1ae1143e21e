"""Which modules the configured LoRA attack adapts, read off a copy of the generator that it prepared."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.schema import Profile

#: Key of the attack whose settings are meant.
LORA = "lora"


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter of one module.

    Attributes:
        rank: r.
        scale: What B·A is multiplied with, α/r.
    """

    rank: int
    scale: float


def configured_adapters(model: GaussianGenerator, profile: Profile) -> dict[str, Adapter]:
    """Return the adapters that ``[attack.lora]`` gives the generator, by module name; ``model`` is left alone.

    Raises:
        UsageError: The attack's settings do not fit the model.
    """
    ensure_torchvision()
    from peft.tuners.lora import LoraLayer

    # The attack draws its initialisation, even of numbers that are not stored, from the global generator.
    with torch.random.fork_rng(devices=()), torch.device("meta"):
        copy = type(model).from_config(model.config)
        build_plugin("geotrap.attacks", LORA, profile.attack.options(LORA)).prepare(copy)
    layers = {name: module for name, module in copy.named_modules() if isinstance(module, LoraLayer)}
    return {
        name: Adapter(rank, float(layer.scaling[adapter]))
        for name, layer in layers.items()
        for adapter, rank in layer.r.items()
    }
