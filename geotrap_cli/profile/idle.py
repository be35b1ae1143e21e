"""Values that would change nothing: an accepted option acts, or it is an error."""

from __future__ import annotations

from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import AggregationTable, LossTable, Profile

TEMPERED_METHODS = ("logsumexp", "pairwise")
"""The aggregation methods that have a temperature."""


def check_idle(profile: Profile, problems: Problems) -> None:
    """Note every value that differs from its default and that nothing would read.

    A resolved profile states every value, so that only one that differs from the default was meant to act.
    """
    aggregation, loss = profile.aggregation, profile.loss
    if aggregation.method not in TEMPERED_METHODS and aggregation.temperature != _default(
        AggregationTable, "temperature"
    ):
        problems.add("aggregation.temperature", f"method '{aggregation.method}' has no temperature; remove it")
    if loss.perceptual == "none" and loss.perceptual_weight != _default(LossTable, "perceptual_weight"):
        problems.add("loss.perceptual_weight", "loss.perceptual is 'none', so there is nothing to weigh; remove it")
    if loss.perceptual != "lpips" and loss.lpips_trunk is not None:
        problems.add("loss.lpips_trunk", f"loss.perceptual is '{loss.perceptual}', which has no trunk; remove it")


def _default(table: type[AggregationTable] | type[LossTable], name: str) -> object:
    return table.model_fields[name].default
