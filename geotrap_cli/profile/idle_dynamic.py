"""Values of ``[traps.KEY.dynamic]`` that would change nothing."""

from __future__ import annotations

from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import Profile


def check_dynamic(profile: Profile, problems: Problems) -> None:
    """Note a term without weight or one that no step adds, and probes that the estimator does not have."""
    tables = {key: table.dynamic for key, table in profile.traps.items() if table.dynamic is not None}
    for key, table in tables.items():
        dotted, steps = f"traps.{key}.dynamic", profile.train.steps
        if table.eta == 0:
            problems.add(f"{dotted}.eta", f"0 adds nothing; set {dotted}=false to have no such term")
        if table.estimator != "hutchinson" and table.probes != 1:
            problems.add_idle(f"{dotted}.probes", f"estimator '{table.estimator}' has no random vectors; remove it")
        if table.every > steps:
            problems.add_idle(f"{dotted}.every", f"the term would never be added in {steps} steps; lower it")
