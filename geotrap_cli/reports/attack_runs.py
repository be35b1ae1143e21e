"""Which attack runs a comparison takes: one run, and for attacks it lacks, others on the very same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import load_profile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.reports.pairing import AttackPair, comparable, read_pair
from geotrap_cli.runs import RunFolder, latest_run, list_runs, open_run


@dataclass(frozen=True)
class Selection:
    """What is compared.

    Attributes:
        run: The attack run that was asked for.
        profile: Its profile, whose ``[eval]`` table sets the limits.
        pairs: One pair of cells for each attack; those of ``run`` first.
        train_run: The run whose weights were attacked.
        weights: Content hash of the undefended and of the defended weights.
        notes: Which runs were taken and which were passed over, one line each.
    """

    run: RunFolder
    profile: Profile
    pairs: list[AttackPair]
    train_run: str
    weights: dict[str, str]
    notes: list[str]

    @property
    def same_weights(self) -> bool:
        """Whether the defended weights are the undefended ones."""
        return self.weights["undefended"] == self.weights["defended"]

    @property
    def runs(self) -> list[Path]:
        """Every run that a pair comes from."""
        return list(dict.fromkeys(pair.run for pair in self.pairs))


def select_runs(options: CommonOptions) -> Selection:
    """Take the run of ``--run`` or the newest finished attack run, and complete it from others beside it.

    Raises:
        UsageError: There is no finished attack run, or its cells are missing, broken or not comparable.
    """
    run = _requested(options)
    summary = _summary(run)
    pairs = [read_pair(run.path, method) for method in summary["methods"]]
    notes = [f"comparing {run.path} ({', '.join(summary['methods'])})"]
    _add_missing(pairs, run, summary, notes)
    profile = load_profile(run.profile_path, env={}, complete=False).profile
    return Selection(run, profile, pairs, summary["train_run"], dict(summary["weights"]), notes)


def _requested(options: CommonOptions) -> RunFolder:
    if options.run is None:
        return latest_run("attack", options.runs_root)
    run = open_run(options.run)
    if run.command != "attack":
        raise UsageError(f"{run.path} is a run of `geotrap {run.command}`", hint="name a run of `geotrap attack`")
    if run.status != "finished":
        hint = f"finish it with `geotrap attack --resume {run.path}`"
        raise UsageError(f"{run.path} is {run.status}, so there is nothing to compare yet", hint=hint)
    return run


def _summary(run: RunFolder) -> dict[str, Any]:
    summary = run.summary()
    weights = summary.get("weights")
    complete = isinstance(weights, Mapping) and {"undefended", "defended"} <= weights.keys()
    if not (complete and isinstance(summary.get("methods"), list) and summary["methods"] and "train_run" in summary):
        hint = "repeat it with `geotrap attack`"
        raise UsageError(f"{run.path} does not say which weights it attacked and how", hint=hint)
    return summary


def _add_missing(pairs: list[AttackPair], run: RunFolder, summary: Mapping[str, Any], notes: list[str]) -> None:
    """Add the attacks that only other finished runs beside ``run`` have, on the same weights, the newest run first."""
    for other in list_runs(run.path.parent):
        if other.name == run.name or other.command != "attack" or other.status != "finished":
            continue
        try:
            theirs = _summary(other)
            if (theirs["train_run"], theirs["weights"]) == (summary["train_run"], summary["weights"]):
                _add_from(other.path, theirs["methods"], pairs, notes)
        except UsageError as error:
            # What is wrong with another run must not keep this one from being read.
            notes.append(f"leaving out {other.path}: {error.message}")


def _add_from(run: Path, methods: list[str], pairs: list[AttackPair], notes: list[str]) -> None:
    known = {pair.method for pair in pairs}
    for method in methods:
        if method in known:
            continue
        pair = read_pair(run, method)
        if comparable(pairs[0], pair):
            pairs.append(pair)
            notes.append(f"adding {method} from {run}")
        else:
            notes.append(f"leaving out {method} of {run}: it measured other objects or views")
