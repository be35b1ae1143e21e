"""A defense plug-in as the loop sees it: the batches of each step, and its losses or its own gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from torch import Tensor

from geotrap_cli.data.views import ViewBatch, ViewSampler
from geotrap_cli.defenses import Defense, LossTerms
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics, backward_total


class MethodObjective:
    """The terms of a defense at each step.

    Args:
        defense: The method, prepared.
        context: What it works with.
    """

    def __init__(self, defense: Defense, context: DefenseContext) -> None:
        self.defense, self.context = defense, context
        bench, kind = context.bench, type(defense)
        views = bench.profile.train.supervised_views
        splits, seed = bench.splits, context.seed
        self.target: ViewSampler | None = None
        self.source: ViewSampler | None = None
        if kind.sees_target:
            ids = defense.target_objects(splits.defense_target)
            self.target = bench.sampler(ids, views if kind.renders_target else 0, seed)
        if kind.sees_source:
            least = context.retention.views
            self.source = bench.sampler(splits.source_train, max(least, views if kind.renders_source else 0), seed)
        self._drawn: tuple[ViewBatch, ViewBatch, int] | None = None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that progress shows."""
        return ("total", *self.context.retention.metric_names, *type(self.defense).shows)

    def __call__(self, step: int) -> LossTerms:
        """Return the terms of one step; none where the defense sets gradients itself."""
        source, target = self._batch(self.source, step), self._batch(self.target, step)
        if type(self.defense).owns_step:
            self._drawn = source, target, step
            return {}
        return self.defense.losses(source, target, step)

    def backward(self, terms: Mapping[str, Tensor]) -> Metrics:
        """Set the gradients.

        Raises:
            NonFiniteError: What a defense reports of its own step is not finite.
        """
        if self._drawn is None:
            return backward_total(terms)
        (source, target, step), self._drawn = self._drawn, None
        metrics = self.defense.step(self.context, source, target, step)
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            what = f"{bad[0]} is {metrics[bad[0]]} at step {step + 1}"
            raise NonFiniteError(what, "Lower the learning rate in a new run")
        return metrics

    def drawn(self, steps: int) -> list[str]:
        """Return the objects that ``steps`` steps may see."""
        splits, size, kind = self.context.bench.splits, self.context.batch_size, type(self.defense)
        names = [name for sampler in (self.target, self.source) if sampler for name in sampler.drawn(steps, size)]
        more = splits.defense_target if kind.draws_more else ()
        return [*names, *more, *(splits.source_train if kind.draws_more_source else ())]

    def _batch(self, sampler: ViewSampler | None, step: int) -> ViewBatch:
        # What a defense says that it does not look at is not drawn.
        nothing = cast(ViewBatch, None)
        size, part = self.context.batch_size, self.context.bench.processes.part
        return nothing if sampler is None else sampler.batch(step, size, part).to(self.context.device)
