"""The mechanisms that a profile turns on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.robust.awp import AdversarialWeights, TrapLoss
from geotrap_cli.training.robust.conflict import GradientConflict
from geotrap_cli.training.robust.energy_cap import EnergyCap
from geotrap_cli.training.robust.gradients import Treatment
from geotrap_cli.training.robust.head_attack import HeadAttack
from geotrap_cli.training.robust.input_noise import InputNoise
from geotrap_cli.training.robust.parameter_noise import ParameterNoise
from geotrap_cli.training.robust.pcgrad import ProjectConflict
from geotrap_cli.training.robust.places import Perturbation, Place
from geotrap_cli.training.robust.unit_reset import UnitReset
from geotrap_cli.training.robust.unrolled import UnrolledAttack
from geotrap_cli.training.workbench import Workbench


@dataclass(frozen=True)
class Mechanisms:
    """Everything ``[robust]`` turns on; nothing by default.

    Attributes:
        perturbations: Where else the traps are evaluated.
        clean_weight: Weight of the traps where nothing is perturbed, beside 1 for each perturbation.
        conflict: A term on the traps' gradients at the head's input.
        treatments: What the traps' gradient goes through, in order.
    """

    perturbations: tuple[Perturbation, ...] = ()
    clean_weight: float = 1.0
    conflict: GradientConflict | None = None
    treatments: tuple[Treatment, ...] = ()

    @property
    def needs_clean_gradient(self) -> bool:
        """Whether anything is minimised at the weights and images themselves."""
        return self.clean_weight > 0 or self.conflict is not None or not self.perturbations

    def places(self, step: int, images: Tensor) -> dict[str, Place]:
        """Return this step's place of each perturbation, by name."""
        return {perturbation.name: perturbation.place(step, images) for perturbation in self.perturbations}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Run the clean forward pass on target objects inside."""
        with self.conflict.watching() if self.conflict is not None else contextlib.nullcontext():
            yield


def build_mechanisms(
    bench: Workbench, model: GaussianGenerator, teacher: GaussianGenerator, loss: TrapLoss
) -> Mechanisms:
    """Return the mechanisms of the profile.

    Args:
        bench: Data and settings.
        model: The generator, with ``requires_grad`` on what is trained.
        teacher: The undefended generator.
        loss: Aggregated loss of the traps.

    Raises:
        UsageError: A mechanism could not act, or does not fit the model.
    """
    table = bench.profile.robust
    conflict = None if table.conflict is None else GradientConflict(model, table.conflict, table.conflict_weight)
    perturbations = tuple(_perturbations(bench, model, teacher, loss))
    return Mechanisms(perturbations, table.clean_weight, conflict, tuple(_treatments(bench, model)))


def _perturbations(
    bench: Workbench, model: GaussianGenerator, teacher: GaussianGenerator, loss: TrapLoss
) -> Iterator[Perturbation]:
    table, train = bench.profile.robust, bench.profile.train
    if table.parameter_noise is not None:
        yield ParameterNoise(model, table.parameter_noise, train.seed)
    if table.input_noise is not None:
        yield InputNoise(table.input_noise, train.seed)
    if table.awp is not None:
        yield AdversarialWeights(model, loss, table.awp, train.precision)
    if table.unit_reset is not None:
        yield UnitReset(model, table.unit_reset, train.seed)
    if table.unrolled is not None:
        yield UnrolledAttack(bench, model, table.unrolled, teacher)
    if table.head_attack is not None:
        yield HeadAttack(bench, model, table.head_attack)


def _treatments(bench: Workbench, model: GaussianGenerator) -> Iterator[Treatment]:
    table = bench.profile.robust
    if table.energy_cap is not None:
        yield EnergyCap(table.energy_cap, sum(parameter.requires_grad for parameter in model.parameters()))
    # Last, so that what comes out does not point against the retention, whatever was done before.
    if table.pcgrad:
        yield ProjectConflict()
