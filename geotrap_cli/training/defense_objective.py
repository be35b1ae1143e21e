"""What ``geotrap train`` minimises: traps on target data, retention on source data."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.dynamic import DynamicTerm
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.retention import Retention
from geotrap_cli.training.terms import TargetPass, TargetTerm, Term
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench


class DefenseObjective:
    """p·R(source) + (1 − p)·λ_trap·[A(traps on target) + Σ extra terms], with p = ``train.source_ratio``.

    Args:
        bench: Data and settings.
        model: The generator that is trained.
        teacher: The undefended generator.
        traps: The traps and their aggregation.
    """

    def __init__(self, bench: Workbench, model: LGM, teacher: LGM, traps: TrapSet) -> None:
        self.bench, self.model, self.teacher, self.traps = bench, model, teacher.eval().requires_grad_(False), traps
        seed = bench.profile.train.seed
        self.target = bench.sampler(bench.splits.defense_target, 0, seed)
        self.retention = Retention(bench, self.teacher)
        self.source = bench.sampler(bench.splits.source_train, self.retention.views, seed)
        self.dynamic = DynamicTerm(bench.profile, model, traps.traps)
        self.extra_terms: Sequence[TargetTerm] = (self.dynamic,) if self.dynamic.terms else ()

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """Return the named loss terms of one step; the traps' own values are reported unweighted."""
        train, device = self.bench.profile.train, self.bench.device
        target = self.target.batch(step, train.batch_size).to(device).images
        source = self.source.batch(step, train.batch_size).to(device)
        with autocast(train.precision, device):
            raw = self.model(torch.cat([target, source.images]))
        gaussians = activate(raw)
        count = len(target)
        losses = self.traps.losses(gaussians[:count])
        trap = self._trap_term(TargetPass(step, target, gaussians[:count], losses))
        retained = self.retention(gaussians[count:], source)
        return {**trap.metrics, **retained.metrics, "total": self._weighted(trap, retained)}

    def _trap_term(self, target: TargetPass) -> Term:
        """A(traps) and the extra terms."""
        loss = self.traps.aggregate(target.losses).mean()
        metrics = {f"{key}_static": value.mean() for key, value in target.losses.items()}
        for extra in self.extra_terms:
            term = extra(target)
            loss = loss + term.loss
            metrics |= term.metrics
        return Term(loss, metrics)

    def _weighted(self, trap: Term, retained: Term) -> torch.Tensor:
        train, ratio = self.bench.profile.train, self.bench.profile.train.source_ratio
        weighted = ratio * retained.loss
        return weighted + (1 - ratio) * train.trap_weight * trap.loss
