"""What is differentiated in each mode of the analysis: the traps, the attacker's loss, or the Gaussians themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.sensitivity.estimators import random_signs
from geotrap_cli.sensitivity.gradients import Scalars
from geotrap_cli.training.losses import ReconstructionLoss, with_total
from geotrap_cli.traps import Trap

ATTACK = "attack"
ATTRIBUTES = tuple(CHANNELS)

Measure = Callable[[GaussianBatch, ViewBatch, int], Scalars]
"""Takes the Gaussians of one object, its views and its place among the samples; gives scalars to differentiate."""


def trap_measure(traps: Mapping[str, Trap]) -> Measure:
    """Each trap's static loss."""

    def measure(gaussians: GaussianBatch, batch: ViewBatch, place: int) -> Scalars:
        del batch, place
        return {key: [trap.loss(gaussians).sum()] for key, trap in traps.items()}

    return measure


def attack_measure(loss: ReconstructionLoss) -> Measure:
    """The attacker's loss on rendered views, all its terms together."""

    def measure(gaussians: GaussianBatch, batch: ViewBatch, place: int) -> Scalars:
        del place
        return {ATTACK: [with_total(loss(gaussians, batch))["total"]]}

    return measure


def jacobian_measure(probes: int, seed: int) -> Measure:
    """Each activated attribute φ projected on random signs v: the gradient of v·φ is Jᵀv, and E‖Jᵀv‖² = ‖J‖²_F.

    The n-th target object and the n-th source object meet the same signs.

    Args:
        probes: Random vectors to average over.
        seed: Seed of the signs.
    """

    def measure(gaussians: GaussianBatch, batch: ViewBatch, place: int) -> Scalars:
        del batch
        generator = torch.Generator(gaussians.activated.device)
        generator.manual_seed(int(np.random.default_rng([seed, place]).integers(2**62)))
        attributes = {name: gaussians.attribute(name) for name in ATTRIBUTES}
        return {
            name: [(random_signs(phi, generator) * phi).sum() for _ in range(probes)]
            for name, phi in attributes.items()
        }

    return measure
