"""From the norms of single samples to the scores of each unit, and the order of the units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.plugins import suggestion
from geotrap_cli.reports.tables import Record, SensitivityRow
from geotrap_cli.sensitivity.gradients import Array, UnitParameters
from geotrap_cli.sensitivity.samples import SampleNorms
from geotrap_cli.sensitivity.statistics import geometric_mean, group_rows, ratio_intervals

GEOMETRIC_MEAN, UNIT = "geometric_mean", "unit"
SIZES = ("parameters", "weight_norm")
COMBINED = ("rms", "leverage", "share")
"""Scores that exist for each loss and, under their plain name, as geometric mean over the losses."""
PER_LOSS = ("target", "source", *COMBINED)


@dataclass(frozen=True)
class UnitScore:
    """All that is known about one unit.

    Attributes:
        row: Ratios and reach, as tables show them.
        parameters: Number of scalars in the unit.
        weight_norm: Norm of its weights.
        target: Mean gradient norm on target objects, per loss.
        source: Mean gradient norm on source objects, per loss.
        shares: Mean share of the squared gradient norm of the whole network on target objects, per loss; NaN where that
            is zero.
    """

    row: SensitivityRow
    parameters: int
    weight_norm: float
    target: Mapping[str, float]
    source: Mapping[str, float]
    shares: Mapping[str, float]

    def record(self) -> Record:
        """Return every figure as flat fields.

        ``rms`` is the target norm per root of the parameter count, which does not grow with the size of a unit;
        ``leverage`` is the target norm times the weight norm, which does not change when a weight is made larger and
        what feeds it smaller by the same factor. Without the name of a loss they are geometric means over the losses.
        """
        flat = self.row.record() | {"parameters": self.parameters, "weight_norm": self.weight_norm}
        flat |= {name: float(geometric_mean([np.array(v) for v in self._scores(name)])) for name in COMBINED}
        for name in PER_LOSS:
            values = self.source.values() if name == "source" else self._scores(name)
            flat |= {f"{name}_{loss}": value for loss, value in zip(self.target, values, strict=True)}
        return flat

    def _scores(self, name: str) -> list[float]:
        """One score on target objects, for each loss."""
        if name == "share":
            return list(self.shares.values())
        factor = {"target": 1.0, "rms": 1 / math.sqrt(self.parameters), "leverage": self.weight_norm}[name]
        return [norm * factor for norm in self.target.values()]


def score_units(
    target: SampleNorms,
    source: SampleNorms,
    units: UnitParameters,
    reached: frozenset[str],
    plain: frozenset[str],
    *,
    seed: int,
    resamples: int,
) -> list[UnitScore]:
    """Compare both sides, unit by unit, in the order of the network.

    Args:
        target: Norms on target objects.
        source: The same losses on source objects.
        units: The units that were measured.
        reached: Those in which the attacker's adapter trains something.
        plain: Those in a block without attention.
        seed: Seed of the resampling.
        resamples: Number of bootstrap samples.
    """

    def intervals(names: Sequence[str]) -> list[Interval]:
        above, below = ([side.norms[name] for name in names] for side in (target, source))
        return ratio_intervals(above, below, target.groups, source.groups, seed=seed, resamples=resamples)

    losses = list(target.norms)
    ratios = {name: intervals([name]) for name in losses}
    combined = intervals(losses)
    sizes, weights = units.sizes(), units.weight_norms()
    means = [
        {name: group_rows(side.norms[name], side.groups).mean(axis=0) for name in losses} for side in (target, source)
    ]
    shares = {name: group_rows(gradient_shares(target.norms[name]), target.groups).mean(axis=0) for name in losses}
    return [
        UnitScore(
            SensitivityRow(
                unit, {name: ratios[name][u] for name in losses}, combined[u], unit in reached, unit in plain
            ),
            int(sizes[u]),
            float(weights[u]),
            *({name: float(values[name][u]) for name in losses} for values in (*means, shares)),
        )
        for u, unit in enumerate(units.names)
    ]


def gradient_shares(norms: Array) -> Array:
    """Share of each unit in the squared norm of all units, [samples, U]; NaN for a sample without any gradient."""
    squares = np.square(norms)
    with np.errstate(invalid="ignore"):
        return squares / squares.sum(axis=1, keepdims=True)


def check_column(column: str, losses: Sequence[str]) -> None:
    """Check that units can be ordered by ``column``.

    Raises:
        UsageError: It is no column; with the closest one.
    """
    known = [GEOMETRIC_MEAN, UNIT, *losses, *SIZES, *COMBINED]
    known += [f"{name}_{loss}" for name in PER_LOSS for loss in losses]
    if column not in known:
        raise UsageError(f"--sort: there is no column {column!r}", hint=suggestion(column, known))


def order_units(scores: Sequence[UnitScore], column: str) -> list[UnitScore]:
    """Scores by falling value in ``column``, undefined ones last; ``unit`` keeps the order of the network."""
    if column == UNIT:
        return list(scores)
    return sorted(scores, key=lambda score: _rank(value_of(score, column)))


def value_of(score: UnitScore, column: str) -> float:
    """The value in ``column``; the name of a loss means its ratio."""
    if column == GEOMETRIC_MEAN:
        return score.row.geometric_mean.value
    if column in score.row.ratios:
        return score.row.ratios[column].value
    value = score.record()[column]
    assert isinstance(value, (int, float))
    return float(value)


def _rank(value: float) -> tuple[bool, float]:
    return (math.isnan(value), -value)
