"""What ``geotrap train`` minimises: traps on target data, retention on source data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.dynamic import DynamicTerm
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.retention import Retention
from geotrap_cli.training.robust.gradients import backward_apart
from geotrap_cli.training.robust.mechanisms import build_mechanisms
from geotrap_cli.training.robust.places import Place, gaussians_at
from geotrap_cli.training.terms import TargetPass, TargetTerm, Term
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench

#: The two halves of the total, weighted; told apart only where their gradients are.
TRAP_TOTAL, RETAIN_TOTAL = "trap_total", "retain_total"


class DefenseObjective:
    """p·R(source) + (1 − p)·λ_trap·[T(target) + Σ extra terms], with p = ``train.source_ratio``.

    T is the mean of the aggregated traps over the places at which they are evaluated: the weights and images as they
    are, with weight ``robust.clean_weight``, and one place of each mechanism that perturbs them, with weight 1. With no
    such mechanism it is A(traps) as such.

    Args:
        bench: Data and settings.
        model: The generator that is trained, with ``requires_grad`` on what is trained.
        teacher: The undefended generator.
        traps: The traps and their aggregation.

    Raises:
        UsageError: A mechanism of ``[robust]`` could not act, or does not fit the model.
    """

    def __init__(self, bench: Workbench, model: GaussianGenerator, teacher: GaussianGenerator, traps: TrapSet) -> None:
        self.bench, self.model, self.teacher, self.traps = bench, model, teacher.eval().requires_grad_(False), traps
        self.network, self.part = bench.processes.replicate(model), bench.processes.part
        seed = bench.profile.train.seed
        self.target = bench.sampler(bench.splits.defense_target, 0, seed)
        self.retention = Retention(bench, self.teacher)
        self.source = bench.sampler(bench.splits.source_train, self.retention.views, seed)
        self.mechanisms = build_mechanisms(bench, model, self.teacher, self._aggregated)
        self.dynamic = DynamicTerm(bench.profile, model, traps.traps)
        terms = (self.mechanisms.conflict, self.dynamic if self.dynamic.terms else None)
        self.extra_terms: Sequence[TargetTerm] = tuple(term for term in terms if term is not None)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that progress shows."""
        static = (f"{key}_static" for key in self.traps.traps)
        return ("total", *self.retention.metric_names, *static, *self.dynamic.metric_names)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Return the named loss terms of one step; the traps' own values are reported unweighted."""
        train, device = self.bench.profile.train, self.bench.device
        target = self.target.batch(step, train.batch_size, self.part).to(device).images
        source = self.source.batch(step, train.batch_size, self.part).to(device)
        # First, as finding the places takes memory that is free again afterwards.
        places = self.mechanisms.places(step, target)
        defended, kept = self._clean_pass(target, source.images)
        trap = self._trap_term(TargetPass(step, target, defended, self.traps.losses(defended)), places)
        retained = self.retention(kept, source)
        return {**trap.metrics, **retained.metrics, **self._totals(trap, retained)}

    def backward(self, terms: Mapping[str, Tensor]) -> Metrics:
        """Run backward from the terms of one step; where a mechanism asks for it, through the two halves apart."""
        if not self.mechanisms.treatments:
            terms["total"].backward()
            return {}
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return backward_apart(terms[TRAP_TOTAL], terms[RETAIN_TOTAL], trained, self.mechanisms.treatments)

    def drawn(self, steps: int) -> list[str]:
        """Return the objects that ``steps`` steps may see."""
        size = self.bench.profile.train.batch_size
        names = [*self.target.drawn(steps, size), *self.source.drawn(steps, size)]
        return [*names, *self.bench.splits.defense_target] if self.bench.profile.robust.simulates else names

    def _clean_pass(self, target: Tensor, source: Tensor) -> tuple[GaussianBatch, GaussianBatch]:
        """Gaussians of the target and of the source objects, with the weights as they are."""
        if self.mechanisms.needs_clean_gradient and not self.mechanisms.treatments:
            with self.mechanisms.watching():
                both = self.model.activate(self._forward(torch.cat([target, source])))
            return both[: len(target)], both[len(target) :]
        # Apart: two backward passes through one graph would cost twice, and what is only reported needs no graph.
        with self.mechanisms.watching(), torch.set_grad_enabled(self.mechanisms.needs_clean_gradient):
            defended = self.model.activate(self._forward(target))
        return defended, self.model.activate(self._forward(source))

    def _forward(self, images: Tensor) -> Tensor:
        with autocast(self.bench.profile.train.precision, self.bench.device):
            return self.network(images)

    def _trap_term(self, target: TargetPass, places: Mapping[str, Place]) -> Term:
        """The traps where they are evaluated, and the extra terms."""
        metrics = {f"{key}_static": value.mean() for key, value in target.losses.items()}
        elsewhere = {f"{name}_static": self._at(place) for name, place in places.items()}
        loss = self._mean(self.traps.aggregate(target.losses).mean(), list(elsewhere.values()))
        metrics |= elsewhere
        for extra in self.extra_terms:
            term = extra(target)
            loss = loss + term.loss
            metrics |= term.metrics
        return Term(loss, metrics)

    def _mean(self, clean: Tensor, elsewhere: Sequence[Tensor]) -> Tensor:
        if not elsewhere:
            return clean
        weight = self.mechanisms.clean_weight
        return (weight * clean + torch.stack(list(elsewhere)).sum()) / (weight + len(elsewhere))

    def _at(self, place: Place) -> Tensor:
        return self._aggregated(gaussians_at(self.model, place, self.bench.profile.train.precision, self.bench.device))

    def _aggregated(self, gaussians: GaussianBatch) -> Tensor:
        """The traps' aggregated loss, mean over objects."""
        return self.traps.aggregate(self.traps.losses(gaussians)).mean()

    def _totals(self, trap: Term, retained: Term) -> dict[str, Tensor]:
        train, ratio = self.bench.profile.train, self.bench.profile.train.source_ratio
        retain_total = ratio * retained.loss
        trap_total = (1 - ratio) * train.trap_weight * trap.loss
        totals = {"total": retain_total + trap_total}
        if self.mechanisms.treatments:
            totals |= {TRAP_TOTAL: trap_total, RETAIN_TOTAL: retain_total}
        return totals
