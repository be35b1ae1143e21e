"""The scores of all units, as measured and in each bootstrap draw of the analysed groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.sensitivity.gradients import Array, UnitParameters
from geotrap_cli.sensitivity.samples import SampleNorms
from geotrap_cli.sensitivity.scores import GEOMETRIC_MEAN, gradient_shares
from geotrap_cli.sensitivity.statistics import Draws, GroupedNorms, geometric_mean, group_rows


@dataclass(frozen=True)
class ResampledScore:
    """One score of U units.

    Attributes:
        values: As measured, [U].
        draws: In each bootstrap draw, [R, U]; None where a side has fewer than two groups.
    """

    values: Array
    draws: Array | None

    def of(self, columns: Sequence[int]) -> ResampledScore:
        """Return the score of the units at ``columns``."""
        chosen = list(columns)
        return ResampledScore(self.values[chosen], None if self.draws is None else self.draws[:, chosen])


def resample_scores(
    target: SampleNorms, source: SampleNorms, units: UnitParameters, *, seed: int, resamples: int
) -> dict[str, ResampledScore]:
    """Return ratio, rms, leverage and share over all losses; one draw takes the same groups for all of them."""
    losses = list(target.norms)
    sides = GroupedNorms.of(
        [target.norms[name] for name in losses], [source.norms[name] for name in losses], target.groups, source.groups
    )
    shares = [group_rows(gradient_shares(target.norms[name]), target.groups) for name in losses]
    factors = {"rms": 1 / np.sqrt(units.sizes()), "leverage": units.weight_norms()}

    def scores(draws: Draws | None) -> dict[str, Array]:
        norm = geometric_mean(sides.target_means(draws))
        share = [rows.mean(axis=0) if draws is None else draws.target @ rows for rows in shares]
        scaled = {name: norm * factor for name, factor in factors.items()}
        return {GEOMETRIC_MEAN: sides.ratios(draws), **scaled, "share": geometric_mean(share)}

    draws = sides.draw(seed, resamples)
    drawn = None if draws is None else scores(draws)
    return {
        name: ResampledScore(values, None if drawn is None else drawn[name]) for name, values in scores(None).items()
    }
