"""LoX: the low-rank part of what a defense changed, taken further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.defenses import Defense, DefenseConfig
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Count, FilePath
from geotrap_cli.search_ranges import Range, choices, uniform
from geotrap_cli.training.defense_context import DefenseContext


class LoxConfig(DefenseConfig):
    """Options of the extrapolation."""

    defended: FilePath | None = Field(
        default=None,
        description="Weights of a defense, or its run folder; required, as there is nothing else to extend.",
    )
    factor: float = Field(default=1.0, gt=0, description="a, how far beyond the defense (in lengths of its change).")
    rank: Count = Field(default=8, description="k, singular directions of each weight's change (directions).")


class LoxDefense(Defense):
    """θ* = θ_I + a·U_k S_k V_kᵀ of θ_I − θ_0, for every weight of two dimensions or more; no training.

    θ_I are the weights of a finished defense. A convolution counts as the matrix of its output channels by everything
    else; biases and norms are those of θ_I. Source: LoX (Perin et al. 2025, arXiv 2506.15606).
    """

    key: ClassVar[str] = "lox"
    summary: ClassVar[str] = "a finished defense extrapolated along the low rank of its change"
    source: ClassVar[str] = "LoX (arXiv 2506.15606)"
    assumes: ClassVar[str] = "a defense whose change has a low rank that matters"
    cost: ClassVar[str] = "none beside the defense that it extends"
    Config: ClassVar[type[DefenseConfig]] = LoxConfig
    config: LoxConfig
    trains: ClassVar[bool] = False
    search: ClassVar[Mapping[str, Range]] = {"factor": uniform(0.25, 1.5), "rank": choices(6, 8, 12, 20)}

    def prepare(self, context: DefenseContext) -> None:
        """Write the weights.

        Raises:
            UsageError: No weights are named, or they cannot be read or are of another size.
        """
        super().prepare(context)
        if self.config.defended is None:
            what = "defense.lox.defended: there is no defense to extend"
            raise UsageError(what, "Add --set defense.lox.defended=RUN, the folder of a finished `geotrap train`")
        defended = dict(context.open(self.config.defended).named_parameters())
        with torch.no_grad():
            for name, parameter in context.model.named_parameters():
                change = defended[name] - parameter
                step = low_rank(change, self.config.rank) if change.ndim > 1 else torch.zeros_like(change)
                parameter.copy_(defended[name] + self.config.factor * step)


def low_rank(change: Tensor, rank: int) -> Tensor:
    """Return the best approximation of rank k of a tensor as the matrix of its first dimension by the others."""
    matrix = change.double().flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = slice(0, rank)
    return ((u[:, kept] * s[kept]) @ v[kept]).reshape(change.shape).to(change.dtype)
