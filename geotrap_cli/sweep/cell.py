"""One combination of a sweep: its defense, its attacks, and what they come to."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from rich.console import Console

from geotrap_cli.atomic import write_json
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED
from geotrap_cli.evaluation.recovery import recovery_ratio
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.reports.pairing import AttackPair, Split, read_pair
from geotrap_cli.reports.quality import best_quality, nan_last, quality
from geotrap_cli.reports.scale import common_scale
from geotrap_cli.run_folder import RunFolder, read_json
from geotrap_cli.sweep.grid import Combination
from geotrap_cli.sweep.result import SweepRow
from geotrap_cli.training.attack import run_attack
from geotrap_cli.training.defense import run_defense
from geotrap_cli.training.finish import finish_run


def run_combination(
    options: CommonOptions, combination: Combination, profile: LoadedProfile, folder: Path, console: Console
) -> SweepRow:
    """Train and attack one combination, or go on where an earlier try ended, and return its row.

    Args:
        options: What the user asked of the sweep.
        combination: The traps.
        profile: Their profile.
        folder: The sweep's run folder; runs lie in ``runs``, finished rows in ``rows``.
        console: Where progress is shown.
    """
    file = folder / "rows" / f"{combination.name}.json"
    if file.exists():
        return _read_row(file)
    inner = dataclasses.replace(options, runs=folder / "runs", profile=str(profile.path), overrides=(), seed=None)
    train_run = finish_run("train", run_defense, inner, profile, console)
    attack_run = finish_run("attack", run_attack, dataclasses.replace(inner, run=train_run.path), profile, console)
    row = make_row(combination, profile, train_run, attack_run)
    write_json(file, dataclasses.asdict(row))
    return row


def make_row(combination: Combination, profile: LoadedProfile, train_run: RunFolder, attack_run: RunFolder) -> SweepRow:
    """Return the figures of one combination from its finished runs."""
    pairs = [read_pair(attack_run.path, method) for method in attack_run.summary()["methods"]]
    scale = common_scale(pairs)
    strongest = max(pairs, key=lambda pair: nan_last(best_quality(pair, DEFENDED)))
    best = best_quality(strongest, DEFENDED)
    source_change = _change(strongest, "source")
    recovery = recovery_ratio([best], scale.floor_db, scale.ceiling_db)[0]
    return SweepRow(
        traps=combination.traps,
        recovery=_measured(recovery),
        target_before=_measured(_change(strongest, "target")),
        target_after=_measured(best - scale.ceiling_db),
        source_change=_measured(source_change),
        attack=strongest.method,
        seconds=float(train_run.summary()["seconds"]),
        # Written so that a source loss that is not a number counts as broken.
        source_broken=not source_change >= -profile.profile.eval.source_tolerance_db,
        run=str(train_run.path),
    )


def _change(pair: AttackPair, split: Split) -> float:
    """Return defended less undefended before the attack."""
    defended, undefended = (quality(pair, subject, split, 0) for subject in (DEFENDED, UNDEFENDED))
    assert defended is not None and undefended is not None, "both splits are measured before every attack"
    return defended - undefended


def _measured(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read_row(file: Path) -> SweepRow:
    fields = read_json(file)
    return SweepRow(**{**fields, "traps": tuple(fields["traps"])})
