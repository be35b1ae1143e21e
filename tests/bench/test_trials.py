"""The settings of the trials: the grid's own first, the same for ever, as many for all, and never on the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.bench.grid import TuningTable, load_grid
from geotrap_cli.bench.plan import BenchPlan, plan_bench
from geotrap_cli.bench.trials import draw_settings, plan_trials
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import load_plugin, plugin_keys
from geotrap_cli.search_ranges import Range, choices, log_uniform

Write = Callable[..., Path]
ENTRY = ("mini", "strong")
TUNE = '[tune]\ntrials = 3\nattacks = ["sgd"]\n'
RANGES = {"a": log_uniform(1.0, 10.0), "b": choices("x", "y")}
CONTROLS = {"none", "distill", "noise"}


def plan(write_grid: Write, more: str) -> BenchPlan:
    return plan_bench(load_grid(write_grid(more)), CommonOptions())


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 12), st.integers(0, 100))
def test_further_trials_leave_the_earlier_ones_as_they_are(count: int, seed: int) -> None:
    own: dict[str, Any] = {"a": 2.0, "b": "x"}
    few = draw_settings(RANGES, own, TuningTable(trials=count, seed=seed))
    more = draw_settings(RANGES, own, TuningTable(trials=count + 3, seed=seed))
    assert more[:count] == few and len(few) == count
    assert few[0] == {} and all(one.keys() == RANGES.keys() for one in few[1:])
    assert len({str(one) for one in more}) == len(more)


def test_another_seed_draws_others_and_few_choices_end() -> None:
    own: dict[str, Any] = {"a": 2.0, "b": "x"}
    found = [draw_settings(RANGES, own, TuningTable(trials=4, seed=seed)) for seed in (0, 1)]
    assert found[0][1:] != found[1][1:]
    only: dict[str, Range] = {"b": choices("x", "y", "z")}
    few = draw_settings(only, {"b": "x"}, TuningTable(trials=9))
    assert few[0] == {} and sorted(str(one["b"]) for one in few[1:]) == ["y", "z"]


@pytest.mark.parametrize("key", plugin_keys("geotrap.defenses"))
def test_every_defense_but_the_controls_says_what_is_searched_among_its_options(key: str) -> None:
    plugin = load_plugin("geotrap.defenses", key)
    assert bool(plugin.search) is (key not in CONTROLS)
    # Every defense that takes steps is searched over the same learning rates.
    assert ("train.lr" in plugin.search) is (plugin.trains and key not in CONTROLS)
    for name in plugin.search:
        assert "." in name or name in plugin.Config.model_fields


def test_a_trial_is_a_training_as_for_the_leaderboard_and_attacks_on_validation_objects(write_grid: Write) -> None:
    found = plan(write_grid, TUNE)
    trials = plan_trials(found, ENTRY)
    assert set(trials.ranges) == {"train.trap_weight"}, "the grid states the learning rate"
    assert [len(one.jobs) for one in trials.trials] == [2, 2, 2]
    own = found.trainings(ENTRY)[0]
    assert trials.trials[0].jobs[0].loaded.name == own.loaded.name
    assert trials.trials[1].jobs[0].loaded.name != own.loaded.name
    assert own.loaded.profile.data.set_aside == 0.2
    first, attack = trials.trials[1].jobs
    assert first.loaded.profile.train.trap_weight == trials.trials[1].setting["train.trap_weight"]
    assert (first.loaded.profile.eval.split, attack.loaded.profile.eval.split) == ("test", "validation")
    assert attack.needs == (first.name,) and attack.name == "mini, strong, trial 1: sgd"
    final = next(job for job in found.attacks(ENTRY) if job.attack == "sgd")
    assert trials.trials[0].jobs[1].loaded.name != final.loaded.name
    assert plan_trials(found, ("mini", "none")).jobs == []


def test_trials_may_be_shorter_and_are_then_others(write_grid: Write) -> None:
    found = plan(write_grid, TUNE + 'set = ["train.steps=2", "attack.steps=3"]\n')
    training, attack = plan_trials(found, ENTRY).trials[0].jobs
    assert training.loaded.name != found.trainings(ENTRY)[0].loaded.name
    assert (training.loaded.profile.train.steps, attack.loaded.profile.attack.steps) == (2, 3)
    assert found.trainings(ENTRY)[0].loaded.profile.train.steps == 1


def test_a_defense_may_not_choose_how_it_is_attacked(write_grid: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_plugin("geotrap.defenses", "geotrap"), "search", {"attack.steps": choices(1, 2)})
    with pytest.raises(GeotrapError, match="no option of a defense"):
        plan_trials(plan(write_grid, TUNE), ENTRY)


def test_without_trials_nothing_is_set_aside(write_grid: Write) -> None:
    assert plan(write_grid, "").profiles[ENTRY].profile.data.set_aside == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[tune]\ntrials = 1\n", "own setting"),
        ('[tune]\nattacks = ["sgd"]\n', r"tune\.trials is 0"),
        ('[tune]\ntrials = 2\nattacks = ["lora", "lora"]\n', "lora is named twice"),
        ('[tune]\ntrials = 2\nattacks = ["loraa"]\n', "lora"),
        ("[tune]\ntrials = 2\ntrial = 3\n", r"did you mean 'tune\.trials'"),
        ('[tune]\ntrials = 2\nset = ["train.stepz=3"]\n', r"did you mean 'train\.steps'"),
        ('[tune]\ntrials = 2\nset = ["data.set_aside=0.0"]\n', "would see those that the leaderboard reports"),
        ('[tune]\ntrials = 2\nset = ["data.seed=5"]\n', "would see those that the leaderboard reports"),
        ('[tune]\ntrials = 2\nset = ["eval.split=validation"]\n', "measured on validation objects"),
        ('[tune]\ntrials = 2\nset = ["attack.controls=scratch"]\n', "trials have none"),
        ('[tune]\ntrials = 2\nset = ["attack.tune.trials=3"]\n', "as they are set"),
        ('[tune]\ntrials = 2\nset = ["attack.seed=3"]\n', "name the seeds"),
    ],
)
def test_tuning_without_sense_is_refused(write_grid: Write, more: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_trials(plan(write_grid, more), ENTRY)


@pytest.mark.parametrize(
    ("value", "message"), [("data.set_aside=0.0", "source objects"), ("eval.split=validation", "would report")]
)
def test_a_grid_without_objects_to_choose_by_is_refused(write_grid: Write, value: str, message: str) -> None:
    path = write_grid(TUNE)
    path.write_text(path.read_text().replace('"eval.objects=1"', f'"eval.objects=1", "{value}"'))
    with pytest.raises(UsageError, match=message):
        plan_trials(plan_bench(load_grid(path), CommonOptions()), ENTRY)
