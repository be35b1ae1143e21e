"""Which trial of a defense is chosen: the one whose worst case on validation objects is best, the source being kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geotrap_cli.bench.profiles import Entry
from geotrap_cli.bench.results import Results
from geotrap_cli.bench.trials import EntryTrials, Setting, Trial
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.reports.quality import best_quality, quality
from geotrap_cli.search_ranges import Range


@dataclass(frozen=True)
class TrialScore:
    """What a trial was worth; all in foreground PSNR on validation objects, means over groups.

    Attributes:
        worst: Target quality that the strongest attack reaches from the defended weights, at any evaluation (dB).
        attack: The variant that reaches it.
        undefended: What the strongest attack reaches from the undefended weights (dB).
        source_loss: What the defense costs on source objects before any attack (dB).
    """

    worst: float
    attack: str
    undefended: float
    source_loss: float


@dataclass(frozen=True)
class JudgedTrial:
    """A trial and its score; None where an attack is missing, or gave no number."""

    number: int
    setting: Setting
    run: str
    score: TrialScore | None


@dataclass(frozen=True)
class EntryTuning:
    """How one defense was tuned.

    Attributes:
        entry: Labels of profile and defense.
        method: Key of the defense.
        ranges: What was searched, by dotted key; empty where there was nothing to search.
        trials: What was tried, in order; empty where there was nothing to search.
        bound: Largest loss on source with which a trial may be chosen (dB).
    """

    entry: Entry
    method: str
    ranges: Mapping[str, Range]
    trials: tuple[JudgedTrial, ...]
    bound: float

    @property
    def measured(self) -> list[JudgedTrial]:
        """The trials that have a score."""
        return [trial for trial in self.trials if trial.score is not None]

    @property
    def chosen(self) -> JudgedTrial | None:
        """The trial whose setting the leaderboard's defense has; None where none was measured: the grid's own stays.

        Among those within the bound the one with the least quality after its strongest attack; where none is within it,
        the one that costs least on source; the first of equals.
        """
        scored = [(trial.score, trial) for trial in self.trials if trial.score is not None]
        within = [(score.worst, trial) for score, trial in scored if score.source_loss <= self.bound]
        ranked = within or [(score.source_loss, trial) for score, trial in scored]
        return min(ranked, key=lambda found: (found[0], found[1].number))[1] if ranked else None

    @property
    def within_bound(self) -> bool:
        """Whether the chosen trial keeps to the bound."""
        chosen = self.chosen
        return chosen is not None and chosen.score is not None and chosen.score.source_loss <= self.bound

    @property
    def setting(self) -> Setting:
        """The values of the chosen trial over those of the grid; empty where the grid's own stay."""
        return {} if self.chosen is None else self.chosen.setting

    def payload(self) -> dict[str, Any]:
        """Return the tuning as JSON values."""
        chosen = self.chosen
        return {
            "profile": self.entry[0],
            "defense": self.entry[1],
            "method": self.method,
            "searched": {name: one.payload() for name, one in self.ranges.items()},
            "trials": [_trial_payload(trial, self.bound) for trial in self.trials],
            "trials_measured": len(self.measured),
            "chosen": None if chosen is None else chosen.number,
            "within_bound": self.within_bound if self.trials else None,
            "options": dict(self.setting),
        }


def judge_trials(trials: EntryTrials, results: Results, bound: float) -> EntryTuning:
    """Return how an entry was tuned by what is measured of its trials."""
    judged = (JudgedTrial(one.number, one.setting, one.jobs[0].defended, _score(one, results)) for one in trials.trials)
    return EntryTuning(trials.entry, trials.method, trials.ranges, tuple(judged), bound)


def is_measured(trial: Trial, results: Results) -> bool:
    """Whether every attack of a trial is measured."""
    return all(results.is_done(job) for job in trial.attacks)


def _score(trial: Trial, results: Results) -> TrialScore | None:
    if not is_measured(trial, results):
        return None
    pairs = [pair for job in trial.attacks for pair in results.pairs(job)]
    reached = {subject: [best_quality(pair, subject) for pair in pairs] for subject in (UNDEFENDED, DEFENDED)}
    losses = [_source_loss(pair) for pair in pairs]
    # What it reached before it diverged would be the lowest of all, and win.
    if not pairs or any(pair.diverged for pair in pairs):
        return None
    if not all(math.isfinite(value) for value in (*reached[DEFENDED], *losses)):
        return None
    worst = max(reached[DEFENDED])
    attack = pairs[reached[DEFENDED].index(worst)].method
    return TrialScore(worst, attack, max(reached[UNDEFENDED]), max(losses))


def _source_loss(pair: AttackPair) -> float:
    before, after = (quality(pair, subject, "source", 0) for subject in (UNDEFENDED, DEFENDED))
    return math.nan if before is None or after is None else before - after


def _trial_payload(trial: JudgedTrial, bound: float) -> dict[str, Any]:
    found = trial.score
    scores: dict[str, Any] = dict.fromkeys(("worst_db", "attack", "undefended_db", "source_loss_db", "within_bound"))
    if found is not None:
        undefended = found.undefended if math.isfinite(found.undefended) else None
        values = (found.worst, found.attack, undefended, found.source_loss, found.source_loss <= bound)
        scores = dict(zip(scores, values, strict=True))
    return {"number": trial.number, "run": trial.run, "options": dict(trial.setting), **scores}
