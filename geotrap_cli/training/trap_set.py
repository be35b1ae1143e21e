"""The traps of a profile as one loss: static terms, their aggregation, and depths for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from geotrap_cli.aggregation import METHODS, aggregate, check_aggregation
from geotrap_cli.defenses import Defense
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.weightings import WeightingName, trap_weights
from geotrap_cli.traps import Trap, report_depth


@dataclass(frozen=True)
class TrapSet:
    """Several traps and how they are joined.

    Attributes:
        traps: The traps by key.
        weights: Weight of each trap inside the aggregation.
        method: Aggregation method.
        options: Its options.
        weightings: How Gaussians count in the means of each trap.
    """

    traps: dict[str, Trap]
    weights: dict[str, float]
    method: str
    options: dict[str, float]
    weightings: dict[str, WeightingName]

    @classmethod
    def from_profile(cls, profile: Profile) -> TrapSet:
        """Load the profile's traps and check that their aggregation accepts them.

        Raises:
            UsageError: There is no trap, or the aggregation needs a bound that a trap does not have.
        """
        if not profile.traps:
            raise UsageError("the profile has no [traps.KEY] table", "Add one, for example [traps.position]")
        traps = {key: load_trap(key, table.options) for key, table in profile.traps.items()}
        method = profile.aggregation.method
        takes_temperature = "temperature" in METHODS[method].options
        made = cls(
            traps,
            {key: table.weight for key, table in profile.traps.items()},
            method,
            {"temperature": profile.aggregation.temperature} if takes_temperature else {},
            {key: table.weighting for key, table in profile.traps.items()},
        )
        check_aggregation(list(traps), method, made.weights, made.upper_bounds, **made.options)
        return made

    @property
    def upper_bounds(self) -> dict[str, float | None]:
        """The largest value of each trap's loss, None where it has none."""
        return {key: trap.upper_bound for key, trap in self.traps.items()}

    def losses(self, batch: GaussianBatch) -> dict[str, torch.Tensor]:
        """Return each trap's loss per object, [B], Gaussians counted as its weighting says."""
        weights = {name: trap_weights(name, batch) for name in set(self.weightings.values())}
        return {key: trap.loss(batch, weights[self.weightings[key]]) for key, trap in self.traps.items()}

    def aggregate(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Join the losses of one batch into one value per object, [B]."""
        return aggregate(losses, self.method, self.weights, self.upper_bounds, **self.options)

    def depths(self, batch: GaussianBatch, reference: GaussianBatch) -> dict[str, dict[str, torch.Tensor]]:
        """Return per trap the depth of each object: raw, opacity-weighted, and relative to ``reference``."""
        reports = {key: report_depth(trap, batch, reference) for key, trap in self.traps.items()}
        return {
            key: {"raw": r.raw, "weighted": r.weighted, "relative": _present(r.relative_raw)}
            for key, r in reports.items()
        }


def measured_traps(profile: Profile, defense: Defense) -> TrapSet | None:
    """Return the traps of a profile, which a defense minimises or which are measured after it; None where it has none.

    Raises:
        UsageError: There is none, and the defense minimises them.
    """
    if profile.traps:
        return TrapSet.from_profile(profile)
    if defense.uses_traps:
        what = f"the profile has no [traps.KEY] table, and defense '{defense.key}' minimises traps"
        raise UsageError(what, "Add one, for example [traps.position]")
    return None


def load_trap(key: str, options: dict[str, Any] | None = None) -> Trap:
    """Return the trap plug-in ``key`` with its options, defaults where none are given."""
    trap: Trap = build_plugin("geotrap.traps", key, options or {})
    return trap


def _present(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None, "a depth report with a reference has relative depths"
    return value
