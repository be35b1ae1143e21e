"""The worst case so far and the time left."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from geotrap_cli.bench.job import Job, Outcome, Peak
from geotrap_cli.bench.progress import Reporter, TimeLeft, WorstSoFar

Make = Callable[..., Job]
ENTRY = ("nano", "geotrap")


def test_worst_so_far_is_the_strongest_on_the_best_undefended_result_of_any_defense() -> None:
    worst = WorstSoFar()
    worst.add(ENTRY, [Peak("lora", 10.0, 20.0, 14.0), Peak("full", 10.0, 18.0, 15.0)])
    assert worst.text(ENTRY) == "at least 50% recovered, by full"
    worst.add(("nano", "none"), [Peak("lora", 10.0, 30.0, 30.0)])
    assert worst.text(ENTRY) == "at least 25% recovered, by full"
    assert worst.text(("nano", "imma")) == "nothing measured yet"


def test_an_attack_without_a_number_shows_nothing() -> None:
    worst = WorstSoFar()
    worst.add(ENTRY, [Peak("lora", 10.0, 20.0, math.nan)])
    assert worst.text(ENTRY) == "nothing measured yet"
    worst.add(ENTRY, [Peak("full", 10.0, math.nan, 12.0)])
    assert worst.text(ENTRY) == "at least 20% recovered, by full"


def test_time_left_goes_by_kind_and_by_what_works_at_a_time(make_job: Make) -> None:
    time = TimeLeft()
    long, short, other = make_job("1", "full"), make_job("2", "lora"), make_job("3", "sgd")
    assert time.estimate([long], 1) is None
    time.add(long, 100.0)
    time.add(short, 20.0)
    assert time.estimate([long, short], 1) == pytest.approx(120.0)
    assert time.estimate([long, short], 2) == pytest.approx(60.0)
    # A kind that has not ended yet counts as the mean; more slots than jobs do not help.
    assert time.estimate([other], 8) == pytest.approx(60.0)


def test_a_line_for_every_job(make_job: Make) -> None:
    lines: list[str] = []
    reporter = Reporter(4, 1, lines.append)
    job, left = make_job("nano, geotrap, seed 0: lora"), [make_job("b"), make_job("c")]
    reporter.ended(job, Outcome(job.name, 300.0, (Peak("lora", 10.0, 20.0, 14.0),)), left, 1)
    reporter.ended(left[0], Outcome("b", error="loss is nan"), left[1:], 1)
    assert lines[0] == (
        "[2/4] nano, geotrap, seed 0: lora took 5 min; geotrap: at least 40% recovered, by lora; about 10 min left"
    )
    assert lines[1].startswith("[3/4] b failed: loss is nan; geotrap: at least 40%")


def test_a_trial_is_told_by_its_quality_and_is_no_worst_case(make_job: Make) -> None:
    lines: list[str] = []
    reporter = Reporter(2, 0, lines.append, "tuning ")
    job = make_job("nano, geotrap, trial 1: lora", trial=1)
    reporter.ended(job, Outcome(job.name, 300.0, (Peak("lora", 10.0, 20.0, 14.0),)), [], 1)
    assert lines == ["tuning [1/2] nano, geotrap, trial 1: lora took 5 min; 14.00 dB on validation objects"]
    assert reporter.worst.text(ENTRY) == "nothing measured yet"
    assert job.kind != make_job("nano, geotrap, seed 0: lora").kind
