"""Condition number: features on which a new head for target objects is hard to fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.search_ranges import Range, multiples
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.streams import Stream
from geotrap_defenses._features import Head, find_head, sample_rows, watch
from geotrap_defenses._mix import mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE

RIDGE = 1e-6
"""Added to the diagonal, and the eigenvalue below which a direction counts as absent."""


class ConditionNumberConfig(DefenseConfig):
    """Options of the condition numbers."""

    well_weight: float = Field(default=1.0, ge=0, description="l1, weight of the well-conditioning on source objects.")
    ill_weight: float = Field(default=1.0, gt=0, description="l2, weight of the ill-conditioning on target objects.")
    head: Head = None
    samples: int = Field(default=4096, ge=2, description="Random pixels of each side (pixels).")


class ConditionNumberDefense(Defense):
    """p·K_distill + (1 − p)·[l1·R_well(S_R) + l2·R_ill(S_H)], S = XᵀX/n of the head's input features X.

    R_well = σ_max²/2 − ‖S‖²_F/(2k), zero where S is a multiple of the identity; R_ill = 1/(‖S‖²_F/(2k) − σ_min²/2),
    which falls as target features become ill-conditioned. k is the number of features; in R_ill, that of the directions
    that are present, of which σ_min is the least eigenvalue: absent ones would pull the mean below σ_min².

    Source: Zheng et al., ICML 2025 (arXiv 2505.23760), whose code takes XᵀX unnormalised and k from the input's last
    axis; here it is divided by n, so their weights do not carry over. It defends a linear head alone.
    """

    key: ClassVar[str] = "condition_number"
    summary: ClassVar[str] = "ill-conditioned head features on target objects, well-conditioned on source"
    source: ClassVar[str] = "model immunization by condition numbers (arXiv 2505.23760)"
    assumes: ClassVar[str] = "an attacker who fits a new head on frozen features"
    cost: ClassVar[str] = "2 gradients"
    Config: ClassVar[type[DefenseConfig]] = ConditionNumberConfig
    config: ConditionNumberConfig
    renders_target: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ("condition_source", "condition_target")
    search: ClassVar[Mapping[str, Range]] = {
        "well_weight": DECADES,
        "ill_weight": multiples(0.01, 100.0),
        **LEARNING_RATE,
    }

    def prepare(self, context: DefenseContext) -> None:
        """Find the head."""
        super().prepare(context)
        self.head = find_head(context.model, self.config.head, "defense.condition_number.head")

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step; ``condition_*`` are σ_max/σ_min."""
        context, config = self.context, self.config
        with watch(context.model, [self.head], inputs=True) as features:
            kept = context.retained(source)
            source_features = features.by_name[self.head]
            context.gaussians(target.images)
            target_features = features.by_name[self.head]
        random = context.generator(step, Stream.DEFENSE_SAMPLES)
        well = spectrum(sample_rows(source_features, config.samples, random))
        ill = spectrum(sample_rows(target_features, config.samples, random))
        own = config.well_weight * well_conditioned(well) + config.ill_weight * ill_conditioned(ill)
        metrics = {"condition_source": condition(well), "condition_target": condition(ill)}
        return mixed(context.share, kept, own.float(), metrics)


def spectrum(rows: Tensor) -> Tensor:
    """Return the eigenvalues of XᵀX/n + 1e-6·I for rows X ``[n, k]``, ascending, float64 ``[k]``.

    NaN where a row holds a NaN or an infinity, for which the solver itself would raise.
    """
    x = rows.double()
    moments = x.mT @ x / len(x)
    if not moments.isfinite().all():
        return torch.full_like(moments[0], torch.nan)
    return torch.linalg.eigvalsh(moments + RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))


def well_conditioned(eigenvalues: Tensor) -> Tensor:
    """Return σ_max²/2 − ‖S‖²_F/(2k), at least zero."""
    return eigenvalues[-1].square() / 2 - eigenvalues.square().mean() / 2


def ill_conditioned(eigenvalues: Tensor) -> Tensor:
    """Return 1/(‖S‖²_F/(2k) − σ_min²/2) over the k directions that are present, above zero.

    Where all of these are equal, or there is one, that would be a division by zero: it is 2/1e-12, without a gradient.
    """
    squares = _present(eigenvalues).square()
    return 2 / (squares.mean() - squares[0]).clamp(min=RIDGE**2)


def condition(eigenvalues: Tensor) -> Tensor:
    """Return σ_max/σ_min."""
    return eigenvalues[-1] / _present(eigenvalues)[0]


def _present(eigenvalues: Tensor) -> Tensor:
    """Return the eigenvalues beyond the ridge, ascending; the largest where there is none."""
    present = eigenvalues[eigenvalues > 2 * RIDGE]
    return present if len(present) else eigenvalues[-1:]
