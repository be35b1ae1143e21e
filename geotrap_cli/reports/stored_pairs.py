"""A comparison from result stores: cells of any number of machines, joined where they attacked the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import BENIGN, CONTROLS, DEFENDED, DISTILL, NOISE, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.store import ResultsStore, StoredCell, merge
from geotrap_cli.profile.schema import EvalTable, Profile
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.pairing import AttackPair, make_pair

Trial = tuple[str, int, str, int, str]
"""Method, budget, settings, seed and version of the code: what another version measured is no half of a pair."""


def select_stored(paths: Sequence[Path], weights: str | None = None) -> Selection:
    """Take every trial of the stores on one set of defended weights.

    Args:
        paths: The stores: files, or folders of runs.
        weights: Content hash of the defended weights; None: those that were attacked last.

    Raises:
        UsageError: A store is missing or broken, or holds no pair of cells of one attack on those weights.
    """
    rows = merge(ResultsStore(path) for path in paths)
    newest = _newest(rows, weights, paths)
    selection = Selection(
        profile=_profile(newest),
        profile_name=newest.profile_name,
        profile_toml=newest.profile,
        profile_path=None,
        pairs=[],
        train_run=newest.train_run,
        weights={UNDEFENDED: newest.undefended, DEFENDED: newest.weights},
        notes=[f"comparing {newest.weights[:12]} of {newest.train_run}, from {', '.join(map(str, paths))}"],
    )
    split, code = _split(newest), trial_of(newest)[-1]

    def later(item: tuple[Trial, dict[str, StoredCell]]) -> tuple[bool, bool]:
        trial, cells = item
        # The first pair settles the objects: what settings were chosen by before must not keep the test out. Of
        # two versions of the program, the one that measured last goes first.
        return _split(next(iter(cells.values()))) != split, trial[-1] != code

    for trial, cells in sorted(stored_trials(rows, selection.weights).items(), key=later):
        add_trial(trial, cells, selection)
    if not selection.pairs:
        hint = "attack both sets of weights with `geotrap attack`"
        raise UsageError(f"{', '.join(map(str, paths))}: no attack has both of its cells", hint=hint)
    return selection


def _profile(row: StoredCell) -> Profile:
    try:
        return Profile.model_validate(tomli.loads(row.profile))
    except ValueError as error:
        what = f"the profile {row.profile_name!r} that a stored cell of {row.run} brings cannot be read"
        raise UsageError(what, hint="it was written by another version: attack again with this one") from error


def _newest(rows: Sequence[StoredCell], weights: str | None, paths: Sequence[Path]) -> StoredCell:
    found = [row for row in rows if row.cell.subject == DEFENDED and weights in (None, row.weights)]
    if not found:
        what = f"{', '.join(map(str, paths))}: no attack on defended weights"
        raise UsageError(f"{what} {weights or ''}".rstrip(), hint="run `geotrap attack`, or name another store")
    return found[-1]


def stored_trials(rows: Sequence[StoredCell], weights: Mapping[str, str]) -> dict[Trial, dict[str, StoredCell]]:
    """Return by trial and subject what was measured on ``weights``, and the controls beside it."""
    belongs = {**weights, **{name: weights[subject] for subject, name in BENIGN.items()}}
    trials: dict[Trial, dict[str, StoredCell]] = {}
    for row in rows:
        made_for_another = row.cell.subject in (DISTILL, NOISE) and row.defended != weights[DEFENDED]
        same = row.undefended == weights[UNDEFENDED] and belongs.get(row.cell.subject, row.weights) == row.weights
        if same and not made_for_another and row.cell.subject in (*SUBJECTS, *CONTROLS):
            trials.setdefault(trial_of(row), {})[row.cell.subject] = row
    return trials


def _split(row: StoredCell) -> str:
    """Return whether a cell was measured on objects of the test or on those that settings are chosen by."""
    return str(tomli.loads(row.profile).get("eval", {}).get("split", EvalTable().split))


def trial_of(row: StoredCell) -> Trial:
    """Return the trial that a cell belongs to."""
    cell = row.cell
    return cell.method, cell.steps, cell.settings, cell.seed, str(row.inputs.get("code"))


def add_trial(trial: Trial, found: dict[str, StoredCell], selection: Selection) -> None:
    """Add the pair of a trial to ``selection``; where it lacks its half, or the two do not fit, say so there."""
    name = f"{trial[0]}, seed {trial[3]}"
    missing = [subject for subject in SUBJECTS if subject not in found]
    if missing:
        selection.notes.append(f"leaving out {name}: the {' and '.join(missing)} weights were not attacked")
        return
    defended = found[DEFENDED]
    try:
        pair: AttackPair = make_pair({subject: row.cell for subject, row in found.items()}, Path(defended.run))
    except UsageError as error:
        selection.notes.append(f"leaving out {name}: {error.message}")
        return
    runs = {subject: Path(row.run) for subject, row in found.items()}
    selection.add(dataclasses.replace(pair, created=defended.created, runs=runs), defended.run)
