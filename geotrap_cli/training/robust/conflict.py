"""``robust.conflict``: traps that pull the head's input apart, so that undoing one leaves the rest."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.terms import TargetPass, Term

#: Under this squared norm a gradient has no direction; its cosine with another counts as zero.
NO_DIRECTION = 1e-60


class GradientConflict:
    """weight · mean over objects and pairs i < j of c(cos(g_i, g_j)), with g_i = ∂L_i/∂h and h the head's input.

    c is ReLU in mode ``orthogonal``: traps may oppose each other but not agree. It is the identity in mode
    ``opposed``: the more they oppose each other, the better.

    Args:
        model: The generator.
        mode: Which c.
        weight: Weight beside the aggregated traps.
    """

    def __init__(self, model: GaussianGenerator, mode: Literal["orthogonal", "opposed"], weight: float) -> None:
        self.model, self.mode, self.weight = model, mode, weight
        self._head_input: Tensor | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the head's input of the forward pass that runs inside; target objects come first in its batch."""

        def keep(_: object, inputs: tuple[Tensor, ...]) -> None:
            self._head_input = inputs[0]

        handle = self.model.get_submodule(self.model.head_units[0]).register_forward_pre_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def __call__(self, target: TargetPass) -> Term:
        """Return the term; ``conflict`` is reported unweighted."""
        assert self._head_input is not None, "the forward pass was not watched"
        head_input, self._head_input = self._head_input, None
        views = target.images.shape[0] * target.images.shape[1]
        directions = [_directions(loss, head_input, views, len(target.images)) for loss in target.losses.values()]
        cosines = torch.stack([(a * b).sum(dim=1) for a, b in itertools.combinations(directions, 2)])
        conflict = (cosines.relu() if self.mode == "orthogonal" else cosines).mean()
        return Term(self.weight * conflict, {"conflict": conflict})


def _directions(loss: Tensor, head_input: Tensor, views: int, objects: int) -> Tensor:
    """∂L/∂h of each object at length one, float64 [B, V·C·H·W]; a gradient of zero stays zero."""
    # Objects do not mix behind the head's input, so the gradient of the sum holds that of each object.
    (gradient,) = torch.autograd.grad(loss.sum(), head_input, create_graph=True)
    rows = gradient[:views].double().reshape(objects, -1)
    return rows / rows.square().sum(dim=1, keepdim=True).clamp(min=NO_DIRECTION).sqrt()
