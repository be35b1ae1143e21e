"""The attacker's loss at each step: the batch of the step's phase, and whatever terms the attack has."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import torch

from geotrap_cli.attacks import Attack, Phase
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.attack_context import AttackData
from geotrap_cli.training.health import HealthRecorder
from geotrap_cli.training.losses import ReconstructionLoss, with_total
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.workbench import Workbench


class PhasePlan:
    """The phases of an attack in a row.

    Args:
        phases: Their order; those without steps are left out.

    Raises:
        ValueError: No phase has a step.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = tuple(phase for phase in phases if phase.steps > 0)
        if not self.phases:
            raise ValueError("an attack without any step")
        self._ends = list(itertools.accumulate(phase.steps for phase in self.phases))

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        return self._ends[-1]

    def at(self, step: int) -> Phase:
        """Return the phase of a step, counted from 0."""
        return self.phases[bisect.bisect_right(self._ends, step)]

    def is_last(self, step: int) -> bool:
        """Whether a step, counted from 0, is of the last phase."""
        return step >= self.steps - self.phases[-1].steps


class AttackObjective:
    """The named loss terms of a step.

    Args:
        bench: Settings and device.
        model: The generator under attack.
        attack: The attack.
        plan: Its phases.
        data: Its objects.
        loss: The rendering loss.
        health: Where the step's Gaussians are recorded.
    """

    def __init__(
        self,
        bench: Workbench,
        model: GaussianGenerator,
        attack: Attack,
        plan: PhasePlan,
        data: AttackData,
        loss: ReconstructionLoss,
        health: HealthRecorder,
    ) -> None:
        self.bench, self.model, self.attack, self.plan = bench, model, attack, plan
        self.data, self.loss, self.health = data, loss, health
        self.network = bench.processes.replicate(model)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """Return the terms and their ``total``."""
        profile, device, phase = self.bench.profile, self.bench.device, self.plan.at(step)
        sampler, part = self.data.sampler(phase.data), self.bench.processes.part
        batch = sampler.batch(step, profile.attack.batch_size, part).to(device)
        with autocast(profile.train.precision, device):
            raw = self.network(batch.images)
        # Of the true activations, whatever the attack's own loss looks at.
        gaussians = self.model.activate(raw)
        self.health.see_gaussians(gaussians.detach(), self.bench.processes.mean_of)
        return with_total(self.attack.loss_terms(self.attack.gaussians(gaussians), batch, phase, self.loss))
