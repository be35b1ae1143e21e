"""``geotrap sweep``: every combination of traps, trained, attacked and ranked in a grid that can be continued."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.atomic import write_text
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.reports.tables import to_csv
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.runs import create_or_resume, resumable_run
from geotrap_cli.sweep.cell import run_combination
from geotrap_cli.sweep.grid import Combination, combination_profile, combinations, default_traps
from geotrap_cli.sweep.result import SweepResult, ranked, with_coupling
from geotrap_cli.training.trap_set import TrapSet

CSV = "sweep.csv"


@dataclass(frozen=True)
class SweepPlan:
    """What ``--dry-run`` shows: the combinations, and what they cost in steps."""

    combinations: list[Combination]
    attacks: tuple[str, ...]
    train_steps: int
    attack_steps: int

    def payload(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        return {**dataclasses.asdict(self), "combinations": [list(one.traps) for one in self.combinations]}

    def render(self, console: Console) -> None:
        """Print one line a combination, then the work they are together."""
        for number, combination in enumerate(self.combinations, start=1):
            console.print(f"{number:3d}  {combination}", highlight=False)
        count = len(self.combinations)
        text = f"{count} defenses of {self.train_steps} steps, each attacked by {', '.join(self.attacks)}"
        console.print(Text(f"{text} for {self.attack_steps} steps (`geotrap train --dry-run` estimates one of them)"))


def run_sweep(
    options: CommonOptions,
    loaded: LoadedProfile,
    console: Console,
    *,
    traps: Sequence[str] = (),
    size: int = 2,
    singles: bool = True,
) -> SweepResult | SweepPlan:
    """Train, attack and rank every combination of ``size`` of ``traps``.

    Args:
        options: What the user asked for.
        loaded: The base profile; only its traps are replaced.
        console: Where progress is shown.
        traps: Keys of the group ``geotrap.traps``; none: those of the five attributes.
        size: Traps of a combination.
        singles: Whether each trap is also run alone, which the coupling gain needs.

    Raises:
        UsageError: A trap, the size or the profile is wrong.
    """
    if options.resume:
        traps, size, singles = _stated(resumable_run(options.resume_path, "sweep", options.runs_root))
    chosen = combinations(tuple(traps) or default_traps(), size, singles)
    if options.dry_run:
        base = loaded.profile
        return SweepPlan(chosen, base.attack.methods, base.train.steps, base.attack.steps)
    with create_or_resume("sweep", options, loaded) as run:
        run.record(traps=list(traps), size=size, singles=singles)
        # All profiles first: a combination that the aggregation refuses should not surface after hours.
        folder = run.path / "profiles"
        profiles = [combination_profile(loaded, combination, folder) for combination in chosen]
        _check_aggregations(profiles)
        rows = []
        for number, (combination, profile) in enumerate(zip(chosen, profiles, strict=True), start=1):
            if not options.quiet:
                console.print(Text(f"[{number}/{len(chosen)}] {combination}"))
            inner = dataclasses.replace(options, resume=None)
            rows.append(run_combination(inner, combination, profile, run.path, console))
        result = SweepResult(run.path, ranked(with_coupling(rows)))
        write_text(run.path / CSV, to_csv([row.record() for row in result.rows]))
        run.finish(result.payload())
    return result


def _stated(run: RunFolder) -> tuple[list[str], int, bool]:
    """Return traps, size and singles of an unfinished sweep."""
    manifest = run.manifest
    if "traps" not in manifest:
        raise UsageError(f"{run.path} ended before its grid was made", "Start a new sweep")
    return manifest["traps"], manifest["size"], manifest["singles"]


def _check_aggregations(profiles: Sequence[LoadedProfile]) -> None:
    for profile in profiles:
        TrapSet.from_profile(profile.profile)
