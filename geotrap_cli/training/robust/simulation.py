"""A few steps of an attack, played through within a step of the defense."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.robust.adaptations import Adaptation
from geotrap_cli.training.robust.places import Place, gaussians_at
from geotrap_cli.training.robust.streams import Stream, derived_seed
from geotrap_cli.training.workbench import Workbench

#: What the attacks that ship clip their gradients to.
CLIP_NORM = 1.0

#: The optimizers of a simulated attacker; AdamW has the decay rates of LGM's own training.
OPTIMIZERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
}


@dataclass(frozen=True)
class Budget:
    """How a simulated attacker optimises.

    Attributes:
        steps: Number of its optimizer steps, k.
        optimizer: Key of :data:`OPTIMIZERS`.
        lr: Its learning rate.
    """

    steps: int
    optimizer: str
    lr: float


class AttackSimulator:
    """Fine-tunes on views of defense-target objects with the reconstruction loss, as an attacker would.

    Args:
        bench: Data and settings; ``train.batch_size`` objects with ``train.supervised_views`` views make a batch.
        model: The generator; its weights never change.
        stream: Which draws of views are this simulator's own.
    """

    def __init__(self, bench: Workbench, model: nn.Module, stream: Stream) -> None:
        train = bench.profile.train
        self.bench, self.model, self.batch_size = bench, model, train.batch_size
        self.loss = bench.reconstruction_loss()
        seed = derived_seed(train.seed, stream)
        self.sampler = bench.sampler(bench.splits.defense_target, train.supervised_views, seed)

    def run(self, step: int, adaptation: Adaptation, budget: Budget) -> dict[str, Tensor]:
        """Attack for ``budget`` in step ``step`` of the defense and return where it ended: δ by weight, constant.

        Raises:
            NonFiniteError: The attacker's loss is not finite.
        """
        parameters = adaptation.parameters
        optimizer = OPTIMIZERS[budget.optimizer](parameters, budget.lr)
        for index in range(budget.steps):
            loss = self._loss(step * budget.steps + index, adaptation)
            if not math.isfinite(float(loss.detach())):
                what = f"the loss of a simulated attack is {float(loss.detach())} at step {step + 1}"
                raise NonFiniteError(what, f"Lower its learning rate, {budget.lr:g}, in a new run")
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
        return {name: delta.detach() for name, delta in adaptation.deltas().items()}

    def _loss(self, draw: int, adaptation: Adaptation) -> Tensor:
        device = self.bench.device
        batch = self.sampler.batch(draw, self.batch_size).to(device)
        weights = {name: value.detach() for name, value in self.model.named_parameters()}
        weights |= {name: weights[name] + delta for name, delta in adaptation.deltas().items()}
        place = Place(batch.images, weights)
        gaussians = gaussians_at(self.model, place, self.bench.profile.train.precision, device)
        return with_total(self.loss(gaussians, batch))["total"]
