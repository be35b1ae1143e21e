"""Prune the weights or change their low-rank part, then full fine-tuning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from geotrap_attacks._surgery import matrices, normal_like
from geotrap_attacks._sweep import Distinct, chosen, expand, require_some
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

Shares = Distinct[Annotated[float, Field(gt=0, lt=1)]]
SWEPT = ("magnitude", "drop_rank", "add_rank")


class PruneConfig(AttackConfig):
    """Options of the attack by pruning."""

    magnitude: Shares = Field(
        default=(0.03, 0.1, 0.3),
        description="Shares of each weight's numbers, the smallest in size, that become zero; each is its own cell.",
    )
    drop_rank: Shares = Field(
        default=(0.1,), description="Shares of each weight's singular values, the smallest, that become zero."
    )
    add_rank: Shares = Field(
        default=(0.1,), description="Norms of a random rank-one matrix that is added, as shares of each weight's norm."
    )

    @model_validator(mode="after")
    def _something_runs(self) -> PruneConfig:
        require_some(self, *SWEPT)
        return self


def cut_magnitude(weight: Tensor, share: float) -> Tensor:
    """Set the ``share`` of a weight's numbers that are smallest in size to zero, rounded to a whole number of them."""
    count = round(share * weight.numel())
    flat = weight.flatten().clone()
    flat[flat.abs().argsort(stable=True)[:count]] = 0
    return flat.view_as(weight)


def cut_rank(weight: Tensor, share: float) -> Tensor:
    """Drop the ``share`` of a weight's singular values that are smallest, one at least; a row an output channel."""
    left, values, right = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
    values[len(values) - math.ceil(share * len(values)) :] = 0
    return ((left * values) @ right).to(weight).view_as(weight)


def add_rank_one(weight: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Add a random rank-one matrix whose norm is ``share`` of the weight's; a row an output channel."""
    rows = weight.flatten(1)
    left, right = normal_like(rows[:, 0], generator), normal_like(rows[0], generator)
    added = torch.outer(left, right) / (left.norm() * right.norm())
    return weight + (share * rows.norm() * added).view_as(weight)


class PruneAttack(Attack):
    """Cut 3, 10 or 30 % of each linear and convolution weight, then train every weight; what was cut may grow back.

    ``drop_rank`` and ``add_rank`` change the low-rank part of each weight in place of single numbers.
    """

    key: ClassVar[str] = "prune"
    summary: ClassVar[str] = "weights cut by magnitude or rank, then full fine-tuning"
    source: ClassVar[str] = "Wei et al. 2024, brittleness of safety alignment under pruning and low-rank changes"
    budget: ClassVar[str] = "attack.steps; the cut costs nothing"
    Config: ClassVar[type[AttackConfig]] = PruneConfig
    config: PruneConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each share of each kind."""
        labels = {kind: f"{kind}-{{:g}}".format for kind in SWEPT}
        return expand(self, **labels)

    @torch.no_grad()
    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Cut or add."""
        kind, share = chosen(self, *SWEPT)
        generator = torch.Generator().manual_seed(context.seed)
        for _, weight in matrices(model):
            if kind == "magnitude":
                weight.copy_(cut_magnitude(weight, share))
            elif kind == "drop_rank":
                weight.copy_(cut_rank(weight, share))
            else:
                weight.copy_(add_rank_one(weight, share, generator))
