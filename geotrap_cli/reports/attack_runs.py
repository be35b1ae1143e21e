"""Which measurements a comparison takes: attack runs, others beside them on the very same weights, or result stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
        profile: The profile of the attacks, whose ``[eval]`` table sets the limits.
        profile_name: Its short name.
        profile_toml: Its text as resolved.
        profile_path: The file it is in; None where it came with a store.
        pairs: One pair of cells for each trial of an attack; those of the run that was asked for first.
        train_run: The run whose weights were attacked.
        weights: Content hash of the undefended and of the defended weights.
        notes: What was taken and what was passed over, one line each.
    """

    profile: Profile
    profile_name: str
    profile_toml: str
    profile_path: Path | None
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

    @property
    def in_order_of_trial(self) -> list[AttackPair]:
        """The pairs by the time at which their runs began."""
        return sorted(self.pairs, key=lambda pair: pair.created)

    def add(self, pair: AttackPair, origin: str) -> None:
        """Take a further pair, unless that trial is there already or it was measured on other objects or views."""
        if pair.identity in {known.identity for known in self.pairs}:
            return
        if self.pairs and not comparable(self.pairs[0], pair):
            self.notes.append(f"leaving out {pair.method} of {origin}: it measured other objects or views")
            return
        self.pairs.append(pair)
        self.notes.append(f"adding {pair.method}, seed {pair.defended.seed}, from {origin}")


def select_runs(options: CommonOptions, named: Sequence[Path] = ()) -> Selection:
    """Take the attack runs ``named``, or the newest finished one, and complete a single one from others beside it.

    Raises:
        UsageError: There is no finished attack run, its cells are missing, broken or not comparable, or the runs named
            attacked different weights.
    """
    runs = [_open(path) for path in named] or [latest_run("attack", options.runs_root)]
    selection = _begin(runs[0])
    for other in runs[1:]:
        theirs = attack_summary(other)
        if theirs["weights"] != selection.weights:
            what = f"{other.path} attacked other weights than {runs[0].path}"
            raise UsageError(what, hint="compare runs that attack the same undefended and defended weights")
        _add_from(other, theirs["methods"], selection)
    if len(runs) == 1:
        _add_siblings(runs[0], selection)
    return selection


def attack_summary(run: RunFolder) -> dict[str, Any]:
    """Return the summary of a finished attack run.

    Raises:
        UsageError: It lacks what a comparison needs.
    """
    summary = run.summary()
    weights = summary.get("weights")
    complete = isinstance(weights, Mapping) and {"undefended", "defended"} <= weights.keys()
    if not (complete and isinstance(summary.get("methods"), list) and summary["methods"] and "train_run" in summary):
        hint = "repeat it with `geotrap attack`"
        raise UsageError(f"{run.path} does not say which weights it attacked and how", hint=hint)
    return summary


def _open(path: Path) -> RunFolder:
    run = open_run(path)
    if run.command != "attack":
        raise UsageError(f"{run.path} is a run of `geotrap {run.command}`", hint="name a run of `geotrap attack`")
    if run.status != "finished":
        hint = f"finish it with `geotrap attack --resume {run.path}`"
        raise UsageError(f"{run.path} is {run.status}, so there is nothing to compare yet", hint=hint)
    return run


def _begin(run: RunFolder) -> Selection:
    summary = attack_summary(run)
    return Selection(
        profile=load_profile(run.profile_path, env={}, complete=False).profile,
        profile_name=run.profile_name,
        profile_toml=run.profile_path.read_text(encoding="utf-8"),
        profile_path=run.profile_path,
        pairs=_pairs(run, summary["methods"]),
        train_run=summary["train_run"],
        weights=dict(summary["weights"]),
        notes=[f"comparing {run.path} ({', '.join(summary['methods'])})"],
    )


def _pairs(run: RunFolder, methods: Sequence[str]) -> list[AttackPair]:
    created = str(run.manifest["created"])
    return [dataclasses.replace(read_pair(run.path, method), created=created) for method in methods]


def _add_siblings(run: RunFolder, selection: Selection) -> None:
    """Add the trials that only other finished runs beside ``run`` have, on the same weights, the newest run first."""
    for other in list_runs(run.path.parent):
        if other.name == run.name or other.command != "attack" or other.status != "finished":
            continue
        try:
            theirs = attack_summary(other)
            if (theirs["train_run"], theirs["weights"]) == (selection.train_run, selection.weights):
                _add_from(other, theirs["methods"], selection)
        except UsageError as error:
            # What is wrong with another run must not keep this one from being read.
            selection.notes.append(f"leaving out {other.path}: {error.message}")


def _add_from(run: RunFolder, methods: Sequence[str], selection: Selection) -> None:
    for pair in _pairs(run, methods):
        selection.add(pair, str(run.path))
