"""Settings of ``[robust]`` that would change nothing, or could not."""

from __future__ import annotations

from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import Profile, RobustTable

LEAST_TRAPS = 2
"""A conflict is one of two."""


def check_robust(profile: Profile, problems: Problems) -> None:
    """Note every value of ``[robust]`` that nothing would read, and mechanisms that act on nothing."""
    table, default = profile.robust, RobustTable()
    if table.clean_weight != default.clean_weight and not table.perturbs:
        problems.add_idle(
            "robust.clean_weight", "no mechanism perturbs, so there is nothing to weigh against; remove it"
        )
    if table.conflict is None and table.conflict_weight != default.conflict_weight:
        problems.add_idle("robust.conflict_weight", "robust.conflict is unset, so there is nothing to weigh; remove it")
    if table.conflict is not None and profile.traps and len(profile.traps) < LEAST_TRAPS:
        problems.add("robust.conflict", "there is one trap, and a conflict needs two; add a trap or remove it")
    _check_halves(profile, problems)


def _check_halves(profile: Profile, problems: Problems) -> None:
    """A mechanism acts on the traps' half of the loss; pcgrad needs both halves."""
    train, table = profile.train, profile.robust
    on = [name for name in RobustTable.model_fields if getattr(table, name) != getattr(RobustTable(), name)]
    if train.trap_weight == 0 or train.source_ratio == 1:
        for name in on:
            problems.add(f"robust.{name}", "the traps have no weight, so that it would change nothing; remove it")
    elif table.pcgrad and (
        (profile.retain.weight == 0 and profile.retain.render_weight == 0) or train.source_ratio == 0
    ):
        problems.add("robust.pcgrad", "the distillation has no weight, so that nothing points against it; remove it")
