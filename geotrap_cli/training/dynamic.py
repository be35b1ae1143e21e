"""``[traps.KEY.dynamic]``: raise or lower how strongly what a trap acts on reacts to the weights.

The term is −η·log(S + 1e-8), per object, with S = ‖∂φ/∂θ‖²_F and φ the trap's attribute of all Gaussians of the object.
Minimising it raises S for η > 0 and lowers it for η < 0.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.base import Generator
from geotrap_cli.models.lgm.attention import twice_differentiable
from geotrap_cli.profile.schema import DynamicTable, Profile
from geotrap_cli.sensitivity.estimators import estimate_with_gradient
from geotrap_cli.training.layers import unknown_units
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.terms import TargetPass, Term
from geotrap_cli.traps import Attribute, Trap, attribute_of

EPSILON: Final = 1e-8
"""Added to S, so that its logarithm exists where nothing reacts."""

# Keeps the stream of probes apart from those that draw objects and views from the same seed and step.
_PROBES = 2


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity term of one trap.

    Attributes:
        key: The trap.
        attribute: What φ is.
        table: Settings.
        layers: Names of the parameters θ of S; empty: all that are trained.
    """

    key: str
    attribute: Attribute
    table: DynamicTable
    layers: frozenset[str]

    def due(self, step: int) -> bool:
        """Whether ``step``, 0 for the first, adds the term: the last of every ``every`` steps does."""
        return (step + 1) % self.table.every == 0


class DynamicTerm:
    """Σ over traps of the mean over objects of −η·log(S + 1e-8), on the steps where each is due.

    Every object has an S of its own, from a forward pass of its own: in a shared one, each product with the Jacobian
    of one object would run backward through all of them. Its gradient is taken at once, so that second derivatives
    are held for one object and one probe at a time, and other steps cost nothing.

    Args:
        profile: The settings of every trap.
        model: The generator, with ``requires_grad`` on what is trained.
        traps: The profile's traps.

    Raises:
        UsageError: A unit does not exist or is frozen, or a trap does not say what it acts on.
    """

    def __init__(self, profile: Profile, model: Generator, traps: Mapping[str, Trap]) -> None:
        self.model, self.precision, self.seed = model, profile.train.precision, profile.train.seed
        self.terms = sensitivities(profile, model, traps)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of a step on which every term is due."""
        return tuple(metric_name(term.key) for term in self.terms)

    def __call__(self, target: TargetPass) -> Term:
        """Return the sum of the terms that are due, and each as a metric, unweighted."""
        due = [term for term in self.terms if term.due(target.step)]
        if not due:
            return Term(target.images.new_zeros(()))
        trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        tallies = [_Tally(term, trained, self._generator(term.key, target)) for term in due]
        for image in target.images.split(1):
            # The backward passes lie inside, because gradient checkpointing calls the network from them.
            with twice_differentiable():
                with autocast(self.precision, image.device):
                    raw = self.model(image)
                gaussians = self.model.activate(raw)
                for tally in tallies:
                    tally.add(gaussians)
        means = {metric_name(tally.term.key): tally.mean() for tally in tallies}
        return Term(torch.stack(list(means.values())).sum(), means)

    def _generator(self, key: str, target: TargetPass) -> torch.Generator:
        """Signs that depend on (seed, step) and the trap's name alone, so that a resumed run draws the same."""
        entropy = [self.seed, target.step, _PROBES, zlib.crc32(key.encode())]
        generator = torch.Generator(target.images.device)
        return generator.manual_seed(int(np.random.default_rng(entropy).integers(2**62)))


def metric_name(key: str) -> str:
    """Name of the metric of the trap ``key``."""
    return f"{key}_dynamic"


def sensitivities(profile: Profile, model: Generator, traps: Mapping[str, Trap]) -> tuple[Sensitivity, ...]:
    """The sensitivity terms of a profile, in the order of its traps.

    Raises:
        UsageError: A unit does not exist or is frozen (all of them are reported at once), or a trap does not say what
            it acts on.
    """
    tables = {key: table.dynamic for key, table in profile.traps.items() if table.dynamic is not None}
    problems = [line for key, table in tables.items() for line in _unit_problems(key, table, model)]
    if problems:
        raise UsageError("; ".join(problems), "Name units that the profile trains; `geotrap analyze-layers` lists all")
    members = model.units()
    terms = []
    for key, table in tables.items():
        layers = frozenset(name for unit in table.layers for name in members[unit])
        terms.append(Sensitivity(key, _attribute(key, traps[key]), table, layers))
    return tuple(terms)


def _unit_problems(key: str, table: DynamicTable, model: Generator) -> list[str]:
    dotted, members = f"traps.{key}.dynamic.layers", model.units()
    problems = [f"{dotted}: {text}" for text in unknown_units(table.layers, members)]
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = [unit for unit in table.layers if unit in members and not trained.intersection(members[unit])]
    return problems + [f"{dotted}: unit {unit!r} is not trained" for unit in frozen]


def _attribute(key: str, trap: Trap) -> Attribute:
    attribute = attribute_of(trap)
    if attribute is None:
        raise UsageError(f"traps.{key}.dynamic: trap '{key}' does not say what it acts on", "Remove the table")
    return attribute


class _Tally:
    """−η·log(S + 1e-8) of one object after the other, and the gradient of their sum."""

    def __init__(self, term: Sensitivity, trained: Mapping[str, nn.Parameter], generator: torch.Generator) -> None:
        self.term, self.generator, self.weights = term, generator, list(trained.values())
        self.theta = [value for name, value in trained.items() if not term.layers or name in term.layers]
        self.values: list[Tensor] = []
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]

    def add(self, gaussians: GaussianBatch) -> None:
        """Take in one object, with a graph."""
        table, phi = self.term.table, self.term.attribute.of(gaussians)
        sensitivity, gradients = estimate_with_gradient(
            table.estimator, phi, self.theta, self.weights, probes=table.probes, generator=self.generator
        )
        self.values.append(-table.eta * torch.log(sensitivity + EPSILON))
        slope = -table.eta / (sensitivity + EPSILON)
        for total, gradient in zip(self.gradients, gradients, strict=True):
            total += slope * gradient

    def mean(self) -> Tensor:
        """Mean over the objects, with its gradient attached."""
        count = len(self.values)
        gradients = [gradient / count for gradient in self.gradients]
        attached: Tensor = _WithGradient.apply(torch.stack(self.values).mean(), gradients, *self.weights)
        return attached


class _WithGradient(torch.autograd.Function):
    """A scalar whose gradient is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *weights: nn.Parameter) -> Tensor:
        del weights
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(upstream * gradient for gradient in ctx.saved_tensors)
