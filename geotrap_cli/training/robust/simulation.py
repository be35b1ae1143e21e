"""A few steps of an attack, played through within a step of the defense."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.relative_distance import raw_distance
from geotrap_cli.training.robust.adaptations import Adaptation
from geotrap_cli.training.robust.places import Place, attacked, gaussians_at
from geotrap_cli.training.robust.streams import Stream, derived_seed
from geotrap_cli.training.surface import cell_colours
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
        loss: ``rendering``, the reconstruction loss, or ``attributes``, the distance of raw channels to those of the
            undefended generator.
    """

    steps: int
    optimizer: str
    lr: float
    loss: str = "rendering"


def attack_path(
    loss: Callable[[int, Mapping[str, Tensor]], Tensor], adaptation: Adaptation, budget: Budget, step: int
) -> Iterator[dict[str, Tensor]]:
    """Take the steps of a simulated attack and yield after each what it adds to the weights, constant.

    What is yielded holds until the next step is taken.

    Args:
        loss: The attacker's loss at one of its steps, counted from 0, by the δ of each adapted weight.
        adaptation: What it trains.
        budget: How.
        step: Step of the defense, for errors.

    Raises:
        NonFiniteError: The loss is not finite.
    """
    parameters = adaptation.parameters
    optimizer = OPTIMIZERS[budget.optimizer](parameters, budget.lr)
    for index in range(budget.steps):
        value = loss(index, adaptation.deltas())
        if not math.isfinite(float(value.detach())):
            what = f"the loss of a simulated attack is {float(value.detach())} at step {step + 1}"
            raise NonFiniteError(what, f"Lower its learning rate, {budget.lr:g}, in a new run")
        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        yield {name: delta.detach() for name, delta in adaptation.deltas().items()}


class AttackSimulator:
    """Fine-tunes on views of defense-target objects with the reconstruction loss, as an attacker would.

    An attacker who regresses attributes needs to know what they should be. The undefended generator tells this one: it
    is at hand here, and stands in for what an attacker finds out from pictures.

    Args:
        bench: Data and settings; ``train.batch_size`` objects with ``train.supervised_views`` views make a batch.
        model: The generator; its weights never change.
        stream: Which draws of views are this simulator's own.
        teacher: The undefended generator; None: no attack of this simulator regresses attributes.
    """

    def __init__(
        self, bench: Workbench, model: GaussianGenerator, stream: Stream, teacher: GaussianGenerator | None = None
    ) -> None:
        train = bench.profile.train
        self.bench, self.model, self.teacher, self.batch_size = bench, model, teacher, train.batch_size
        self.loss = bench.reconstruction_loss()
        seed = derived_seed(train.seed, stream)
        self.sampler = bench.sampler(bench.splits.defense_target, train.supervised_views, seed)

    def run(self, step: int, adaptation: Adaptation, budget: Budget) -> dict[str, Tensor]:
        """Attack for ``budget`` in step ``step`` of the defense and return where it ended: δ by weight, constant.

        Raises:
            NonFiniteError: The attacker's loss is not finite.
        """
        first = step * budget.steps
        loss = self._rendering_loss if budget.loss == "rendering" else self._attribute_loss
        path = attack_path(lambda index, deltas: loss(first + index, deltas), adaptation, budget, step)
        return deque(path, maxlen=1).pop()

    def _rendering_loss(self, draw: int, deltas: Mapping[str, Tensor]) -> Tensor:
        batch, gaussians = self._attacked(draw, deltas)
        return with_total(self.loss(gaussians, batch))["total"]

    def _attribute_loss(self, draw: int, deltas: Mapping[str, Tensor]) -> Tensor:
        assert self.teacher is not None, "who regresses attributes is given the undefended generator"
        batch, gaussians = self._attacked(draw, deltas)
        with torch.no_grad():
            taught = self._gaussians(self.teacher, Place(batch.images, {}))
        _, covered = cell_colours(batch, self.model.splat_size)
        return raw_distance(gaussians.require_raw(), taught.require_raw(), covered)

    def _attacked(self, draw: int, deltas: Mapping[str, Tensor]) -> tuple[ViewBatch, GaussianBatch]:
        """Batch ``draw``, and what the attacker's weights make of it."""
        batch = self.sampler.batch(draw, self.batch_size).to(self.bench.device)
        return batch, self._gaussians(self.model, Place(batch.images, attacked(self.model, deltas)))

    def _gaussians(self, model: GaussianGenerator, place: Place) -> GaussianBatch:
        return gaussians_at(model, place, self.bench.profile.train.precision, self.bench.device)
