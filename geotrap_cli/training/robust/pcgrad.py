"""``robust.pcgrad``: where traps and retention disagree, the traps give way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geotrap_cli.training.robust.gradients import Treated


class ProjectConflict:
    """g ← g − (g·r/‖r‖²)·r where g·r < 0, with g the traps' gradient and r that of the retention.

    After gradient surgery (Yu et al. 2020, arXiv 2001.06782), on one side only: the traps' step then leaves the
    retention's loss as it is to first order. Products run over all trained tensors together.
    """

    metric = "pcgrad_removed"

    def __call__(self, trap: Sequence[Tensor], retain: Sequence[Tensor]) -> Treated:
        """Return the projected gradient and which share of its norm was removed."""
        product, retained, norm = _dot(trap, retain), _dot(retain, retain), _dot(trap, trap)
        if not product < 0:
            return Treated(list(trap), {self.metric: 0.0})
        factor = float(product / retained)
        projected = [g - factor * r for g, r in zip(trap, retain, strict=True)]
        return Treated(projected, {self.metric: float(-product / (retained.sqrt() * norm.sqrt()))})


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a.double() * b.double()).sum() for a, b in zip(first, second, strict=True)]).sum()
