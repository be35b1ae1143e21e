"""The choice among trials: the best worst case within the bound, else the least loss, and nothing unmeasured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.bench.choice import EntryTuning, JudgedTrial, TrialScore, judge_trials
from geotrap_cli.bench.trials import EntryTrials, Trial
from geotrap_cli.bench.tuning_tables import setting_text, trials_text
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import HEADLINE, ObjectScore
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.search_ranges import log_uniform

BOUND = 1.0
scores = st.none() | st.tuples(st.floats(5, 40), st.floats(-1, 5))


def tuning(*found: tuple[float, float] | None) -> EntryTuning:
    """A tuning with the worst case and the source loss of each trial."""

    def judged(number: int) -> JudgedTrial:
        score = found[number]
        setting = {"a": float(number)} if number else {}
        return JudgedTrial(number, setting, "run", score and TrialScore(score[0], "lora", 30.0, score[1]))

    trials = tuple(judged(number) for number in range(len(found)))
    return EntryTuning(("nano", "x"), "x", {"a": log_uniform(1.0, 9.0)}, trials, BOUND)


def chosen(*found: tuple[float, float] | None) -> int | None:
    trial = tuning(*found).chosen
    return None if trial is None else trial.number


def test_known_choices() -> None:
    assert chosen((20.0, 0.1), (15.0, 0.9), (10.0, 1.1)) == 1, "the last one breaks the source"
    assert chosen((20.0, 3.0), (15.0, 2.0), (10.0, 4.0)) == 1, "none keeps the source: the least loss"
    assert chosen((20.0, 0.1), (20.0, 0.1)) == 0, "of equals the first"
    assert chosen((20.0, 0.1), None) == 0
    assert chosen(None, None) is None


@given(st.lists(scores, min_size=1, max_size=8))
def test_no_other_trial_is_better(found: list[Any]) -> None:
    one = tuning(*found)
    trial = one.chosen
    if trial is None:
        assert not any(found) and one.setting == {}
        return
    assert trial.score is not None and one.setting == trial.setting
    within = [score for score in found if score is not None and score[1] <= BOUND]
    assert one.within_bound is bool(within)
    if within:
        assert trial.score.worst == min(score[0] for score in within)
    else:
        assert trial.score.source_loss == min(score[1] for score in found if score is not None)


def test_words_and_values() -> None:
    one = tuning((20.0, 0.1), (15.0, 0.9), None)
    assert trials_text(one) == "2 of 3"
    assert setting_text(one.setting) == "a=1.0" and setting_text({}) == "the grid's own"
    found = one.payload()
    assert (found["chosen"], found["options"], found["trials_measured"]) == (1, {"a": 1.0}, 2)
    assert found["trials"][2]["worst_db"] is None and found["trials"][0]["within_bound"] is True
    assert found["searched"] == {"a": {"kind": "log", "values": [1.0, 9.0]}}


@pytest.mark.parametrize(("nonfinite", "expected"), [(0, 12.0), (1, None)])
def test_a_trial_whose_attack_diverged_has_no_score(nonfinite: int, expected: float | None) -> None:
    """What it reached before that is little, and would be the best of all."""

    def cell(subject: str, quality: float) -> Cell:
        scores = [ObjectScore("a/0", "a", "a", {HEADLINE: quality})]
        health = AttackHealth(0.0, 0.0, nonfinite if subject == "defended" else 0, True)
        return Cell("lora", subject, 1, 0, [CellEvaluation(0, scores, scores)], health, 1.0, 1, 0.1, 0.1)

    pair = AttackPair(cell("undefended", 20.0), cell("defended", 12.0), Path("run"))
    results: Any = SimpleNamespace(is_done=lambda _: True, pairs=lambda _: [pair])
    jobs: Any = tuple(SimpleNamespace(attack=key, defended="run") for key in (None, "lora"))
    trials = EntryTrials(("nano", "x"), "x", {}, (Trial(0, {}, jobs),))
    (judged,) = judge_trials(trials, results, BOUND).trials
    assert (judged.score and judged.score.worst) == expected
