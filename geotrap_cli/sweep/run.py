"""``geotrap sweep``: every combination of traps, trained, attacked and ranked in a grid that can be continued."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

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
from geotrap_cli.sweep.plan import SweepPlan, plan_sweep
from geotrap_cli.sweep.result import SweepResult, ranked, with_coupling
from geotrap_cli.training.trap_set import TrapSet

CSV = "sweep.csv"


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
        with tempfile.TemporaryDirectory() as folder:
            _profiles(loaded, chosen, Path(folder))
        return plan_sweep(options, loaded, chosen)
    with create_or_resume("sweep", options, loaded) as run:
        run.record(traps=list(traps), size=size, singles=singles)
        profiles = _profiles(loaded, chosen, run.path / "profiles")
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


def _profiles(loaded: LoadedProfile, chosen: Sequence[Combination], folder: Path) -> list[LoadedProfile]:
    """Write all profiles: a combination that the aggregation refuses should not surface after hours."""
    profiles = [combination_profile(loaded, combination, folder) for combination in chosen]
    for profile in profiles:
        TrapSet.from_profile(profile.profile)
    return profiles
