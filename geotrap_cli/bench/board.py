"""What a grid found: one row for each defense, the one that holds best under its worst attack first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geotrap_cli.bench.choice import EntryTuning
from geotrap_cli.bench.job import Job
from geotrap_cli.bench.make_jobs import Place
from geotrap_cli.bench.plan import BenchPlan
from geotrap_cli.bench.profiles import Entry
from geotrap_cli.bench.results import Results
from geotrap_cli.evaluation.bootstrap import Interval, Resampling, paired_comparison
from geotrap_cli.evaluation.cells import SUBJECTS
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.evaluation.validity import State
from geotrap_cli.profile.dump import dump_toml
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.comparison import Judgement, judge_selection, not_tested
from geotrap_cli.reports.pairing import AttackPair, comparable, metric_values
from geotrap_cli.reports.quality import nan_last
from geotrap_cli.reports.scale import Scale, common_scale
from geotrap_cli.training.finish import runs_named


@dataclass(frozen=True)
class DefenseEffort:
    """What a defense cost, the mean over those seeds whose runs are on this machine.

    Attributes:
        seconds: Duration of its optimisation.
        gradients: Gradient evaluations, in batches.
    """

    seconds: float
    gradients: float


@dataclass(frozen=True)
class BoardRow:
    """One defense under one profile.

    Attributes:
        entry: Labels of profile and defense.
        method: Key of the defense.
        asked: Attacks of the grid on it, each key and seed counted.
        missing: Those of them that are not wholly measured, by attack and seed.
        diverged: Those of them that ended early in every form, by a loss that was no finite number.
        judgement: What the measured ones come down to; None where there are none.
        source: Change of foreground PSNR on source by the defense (dB), of the seed that loses most.
        effort: Its cost; None where its runs are on other machines.
        failures: Why jobs failed, one line each.
        not_tested: What the verdict does not cover.
        tuning: How its options were chosen; None where the grid has no trials.
    """

    entry: Entry
    method: str
    asked: int
    missing: tuple[str, ...]
    judgement: Judgement | None
    source: Interval | None
    effort: DefenseEffort | None
    failures: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()
    tuning: EntryTuning | None = None
    diverged: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every attack of the grid was measured to its end; else the worst case is known to be no lower."""
        return not (self.missing or self.diverged)

    @property
    def proven(self) -> bool:
        """Whether its worst case may be believed: only such rows have a place."""
        return self.complete and self.states[0] is State.VALID

    @property
    def worst(self) -> Interval | None:
        """Recovery of the strongest attack that was measured; None where none was, or none is defined."""
        peak = None if self.judgement is None else self.judgement.worst.peak
        return None if peak is None or math.isnan(peak.value) else peak

    @property
    def states(self) -> tuple[State, ...]:
        """Every state that applies, in order of precedence: what is incomplete is not valid, whatever the rest is."""
        if self.judgement is None:
            return (State.NOT_RUN,)
        gaps = {State.NOT_RUN: self.missing, State.DIVERGED: self.diverged}
        found = {*self.judgement.verdict.states, *(state for state, attacks in gaps.items() if attacks)}
        return tuple(state for state in State if state in found and (state is not State.VALID or self.complete))

    @property
    def variants(self) -> int:
        """Number of trials that were measured: variants of attacks and seeds."""
        return 0 if self.judgement is None else len(self.judgement.attacks)

    def recovery(self, attack: str) -> Interval | None:
        """Return the recovery of the strongest trial of one attack; None where none was measured."""
        found = [] if self.judgement is None else self.judgement.attacks
        peaks = [one.peak for one in found if one.pair.defended.key == attack]
        return max(peaks, key=lambda peak: nan_last(peak.value), default=None)


@dataclass(frozen=True)
class Board:
    """The leaderboard.

    Attributes:
        name: Short name of the grid.
        rows: The defenses, profile by profile: first valid and complete ones by recovery, the lowest before, then those
            that are not valid, among them last those that broke the source, then incomplete ones, then those of which
            nothing was measured.
        attacks: Keys of the attacks, in the order of the grid.
        seeds: The seeds.
        notes: What was left out, one line each.
        scales: Floor and ceiling by the label of the profile.
    """

    name: str
    rows: list[BoardRow]
    attacks: tuple[str, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    scales: Mapping[str, Scale] = field(default_factory=dict)

    @property
    def tunings(self) -> list[EntryTuning]:
        """How the defenses were tuned, in the order of the rows; empty where the grid has no trials."""
        return [row.tuning for row in self.rows if row.tuning is not None]


def make_board(
    plan: BenchPlan,
    results: Results,
    root: Path,
    failed: Mapping[str, str] | None = None,
    tunings: Mapping[Entry, EntryTuning] | None = None,
) -> Board:
    """Judge every defense of the grid on one scale for each profile.

    Args:
        plan: The grid.
        results: What is measured.
        root: The folder of the grid's runs.
        failed: Why jobs failed, by name.
        tunings: How each entry was tuned, where the grid has trials.
    """
    selections = {entry: _selection(plan, entry, results) for entry in plan.profiles}
    scales = _scales(selections)
    for entry, selection in selections.items():
        _drop_strangers(selection, scales.get(entry[0]))
    rows = [_row(plan, entry, found, results, scales, root, failed or {}) for entry, found in selections.items()]
    rows = [dataclasses.replace(row, tuning=(tunings or {}).get(row.entry)) for row in rows]
    attacks = dict.fromkeys(job.attack for job in plan.jobs if job.attack is not None)
    notes = [*plan.left_out, *(note for found in selections.values() for note in _warnings(found))]
    grid = plan.grid
    return Board(grid.name, ranked(rows), tuple(attacks), grid.grid.seeds, tuple(dict.fromkeys(notes)), scales)


def ranked(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return the rows in the order of the board, profile by profile, as each has a scale of its own."""
    profiles = list(dict.fromkeys(row.entry[0] for row in rows))

    def key(row: BoardRow) -> tuple[int, bool, bool, bool, bool, float]:
        worst, profile = row.worst, profiles.index(row.entry[0])
        share = math.inf if worst is None else worst.value
        # A destroyed generator leaves an attacker little to recover, and would lead wherever no row is valid.
        broken = State.SOURCE_BROKEN in row.states
        return profile, worst is None, not row.complete, not row.proven, broken, share

    return sorted(rows, key=key)


def _selection(plan: BenchPlan, entry: Entry, results: Results) -> Selection:
    """Return every measured pair of an entry, over attacks and seeds."""
    loaded, name = plan.profiles[entry], " x ".join(entry)
    runs = str(plan.grid.path)
    selection = Selection(loaded.profile, name, dump_toml(loaded.profile), None, [], runs, {}, [])
    for job in plan.attacks(entry):
        results.add_pairs(job, selection)
    return selection


def _warnings(selection: Selection) -> Iterator[str]:
    """Return what was passed over; what was taken is in the rows."""
    yield from (f"{selection.profile_name}: {note}" for note in selection.notes if note.startswith("leaving out"))


def _scales(selections: Mapping[Entry, Selection]) -> dict[str, Scale]:
    """Return floor and ceiling of each profile, over all of its defenses: one that few attacks met has no other."""
    pairs: dict[str, list[AttackPair]] = {}
    for entry, selection in selections.items():
        known = pairs.setdefault(entry[0], [])
        known += [pair for pair in selection.pairs if not known or comparable(known[0], pair)]
    return {label: common_scale(found) for label, found in pairs.items() if found}


def _drop_strangers(selection: Selection, scale: Scale | None) -> None:
    """Take out what was measured on other objects or views than the rest of the profile: it has no common scale."""
    strangers = [pair for pair in selection.pairs if scale is not None and not comparable(scale.pair, pair)]
    for pair in strangers:
        selection.pairs.remove(pair)
        selection.notes.append(f"leaving out {pair.method} of {pair.run}: it measured other objects or views")


def _row(
    plan: BenchPlan,
    entry: Entry,
    selection: Selection,
    results: Results,
    scales: Mapping[str, Scale],
    root: Path,
    failed: Mapping[str, str],
) -> BoardRow:
    jobs, trainings = plan.attacks(entry), plan.trainings(entry)
    own = {job.name for job in (*trainings, *jobs)}
    names = [name for name in failed if name in own or name.startswith(Place(entry, 0).trial_prefix)]
    profile, kept = selection.profile, {pair.identity for pair in selection.pairs}
    resampling = Resampling(profile.data.seed, profile.eval.bootstrap)
    judged = judge_selection(selection, resampling, scales[entry[0]]) if selection.pairs else None
    return BoardRow(
        entry=entry,
        method=profile.defense.method,
        asked=len(jobs),
        missing=_names(job for job in jobs if not _is_judged(job, results, kept)),
        diverged=_names(job for job in jobs if (found := results.pairs(job)) and all(pair.diverged for pair in found)),
        judgement=judged,
        source=_source(selection.pairs, resampling),
        effort=_effort(trainings, root, plan),
        failures=tuple(f"{name}: {failed[name]}" for name in names),
        not_tested=() if judged is None else tuple(not_tested(judged.verdict, selection)),
    )


def _names(jobs: Iterable[Job]) -> tuple[str, ...]:
    return tuple(f"{job.attack}, seed {job.seed}" for job in jobs)


def _is_judged(job: Job, results: Results, kept: Collection[object]) -> bool:
    """Whether all of an attack was measured, and nothing of it left out: every pair is among those that are kept."""
    return results.is_done(job) and all(pair.identity in kept for pair in results.pairs(job))


def _source(pairs: Sequence[AttackPair], resampling: Resampling) -> Interval | None:
    """Return the change on source before any attack, of the weights that lose most; None where it was not measured."""
    changes = []
    for pair in {pair.defended.seed: pair for pair in pairs}.values():
        before, after = (pair.scores(subject, "source", 0) for subject in SUBJECTS)
        if before is not None and after is not None:
            first, second = (metric_values(scores, HEADLINE) for scores in (before, after))
            groups = [score.group for score in before]
            changes.append(paired_comparison(first, second, groups, **resampling.options).difference)
    # Not a number is worse than any loss.
    return min(changes, key=lambda change: nan_last(change.value), default=None)


def _effort(trainings: Sequence[Job], root: Path, plan: BenchPlan) -> DefenseEffort | None:
    """Return what the trainings took, those included whose weights they take; None where not all of that is known."""
    by_name = {job.name: job for job in plan.jobs}
    seconds, gradients = 0.0, 0.0
    for job in trainings:
        for needed in _with_needs(job, by_name):
            finished = [run for run in runs_named(root, "train", needed.defended) if run.status == "finished"]
            if not finished:
                return None
            summary = finished[0].summary()
            seconds += float(summary["seconds"])
            gradients += float(summary["gradient_evaluations"])
    return DefenseEffort(seconds / len(trainings), gradients / len(trainings)) if trainings else None


def _with_needs(job: Job, by_name: Mapping[str, Job]) -> Iterator[Job]:
    yield job
    for name in job.needs:
        yield from _with_needs(by_name[name], by_name)
