"""The search for the best setting: as many trials on both weights, on the attacker's objects, none run twice."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main
from geotrap_cli.attacks import AttackConfig
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.reports.tuning_curves import read_tuning, tuning_table
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.attack_plan import plan_attacks
from geotrap_cli.training.tuning import is_tunable, validation_bench

BEST = {"undefended": 1e-4, "defended": 3e-3}
TRIALS = 6


class Attacks:
    """Attacks whose quality is known: it falls with the distance of the learning rate to the best one."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.diverges = root, False
        self.seen: list[CellRunner] = []
        self.killed_at: int | None = None

        def run(runner: CellRunner, *_: Any) -> Cell:
            if len(self.seen) == self.killed_at:
                raise KeyboardInterrupt
            self.seen.append(runner)
            return self.cell(runner)

        patch.setattr(CellRunner, "run", run)
        patch.setattr(CellRunner, "save", lambda *_: None)

    def cell(self, runner: CellRunner) -> Cell:
        config = runner.attack.config
        assert isinstance(config, AttackConfig)
        origin = runner.subject.removeprefix("trial_")
        quality = 20 - abs(math.log10(config.lr / BEST[origin])) + 0.01 * (config.schedule == "constant")
        scores = [
            [ObjectScore("a/0", "a", "a", {"foreground_psnr": value, "white_foreground_psnr": 10.0})]
            for value in (9.0, math.nan if self.diverges else quality)
        ]
        steps = runner.bench.profile.attack.steps
        evaluations = [CellEvaluation(step, score, None) for step, score in zip((0, steps), scores, strict=True)]
        seed = runner.bench.profile.attack.seed
        return Cell(runner.method, runner.subject, steps, seed, evaluations, None, 1.0, 1, None, None, runner.family)

    def __call__(self, *arguments: str) -> int:
        (train,) = self.root.glob("*-train-*")
        stated = () if "--resume" in arguments else ("--run", str(train))
        return main(["attack", "--quiet", *stated, *arguments])

    def tuning(self) -> list[dict[str, Any]]:
        runs = sorted(
            self.root.glob("*-attack-*"), key=lambda run: json.loads((run / "manifest.json").read_text())["created"]
        )
        found: list[dict[str, Any]] = json.loads((runs[-1] / "tuning.json").read_text())
        return found


@pytest.fixture
def attacks(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attacks:
    shutil.copytree(trained, tmp_path / "runs")
    return Attacks(tmp_path / "runs", monkeypatch)


TUNE = ("lora", "--tune", str(TRIALS))


def test_both_weights_get_as_many_trials_and_each_its_own_best_setting(attacks: Attacks) -> None:
    assert attacks(*TUNE) == 0
    searches = {search["weights"]: search for search in attacks.tuning()}
    assert [len(search["trials"]) for search in searches.values()] == [TRIALS, TRIALS]
    best = {name: search["trials"][search["best"]] for name, search in searches.items()}
    for name, search in searches.items():
        assert best[name]["quality_db"] == max(trial["quality_db"] for trial in search["trials"])
        assert all(1e-5 <= trial["lr"] <= 1e-2 for trial in search["trials"])
        assert {trial["steps"] for trial in search["trials"]} <= {1, 2, 4}
    assert best["undefended"]["lr"] < best["defended"]["lr"]
    last = [(runner.method, runner.subject, runner.attack.config.lr) for runner in attacks.seen[-4:]]  # type: ignore[attr-defined]
    assert last == [
        (f"lora-tuned_{tuned}", subject, best[tuned]["lr"]) for tuned in BEST for subject in ("undefended", "defended")
    ]
    assert [runner.bench.profile.attack.steps for runner in attacks.seen[-4:]] == [
        best[tuned]["steps"] for tuned in BEST for _ in range(2)
    ]


def test_trials_see_the_attackers_objects_alone(attacks: Attacks) -> None:
    assert attacks("lora", "--tune", "1") == 0
    (pair, _), (trial, _) = attacks.seen[:2], attacks.seen[2:4]
    own, judged = set(pair.bench.splits.attack_target), set(pair.bench.splits.eval_target)
    splits = trial.bench.splits
    assert set(splits.attack_target) | set(splits.eval_target) == own
    assert not set(splits.attack_target) & set(splits.eval_target)
    assert not judged & {*splits.attack_target, *splits.eval_target}
    assert splits.source_eval == ()


def test_held_out_objects_are_whole_groups(open_mini: Callable[..., Any]) -> None:
    bench = open_mini().bench
    splits = validation_bench(bench).splits
    groups = {record.id: record.group for record in bench.dataset.records}
    assert not {groups[name] for name in splits.attack_target} & {groups[name] for name in splits.eval_target}


def test_the_seed_decides(attacks: Attacks) -> None:
    found = []
    for arguments in (TUNE, (*TUNE, "--no-reuse"), (*TUNE, "--seed", "7")):
        assert attacks(*arguments) == 0
        found.append(attacks.tuning())
    assert found[0] == found[1] != found[2]


def test_a_rerun_takes_every_trial_from_the_store(attacks: Attacks) -> None:
    assert attacks(*TUNE) == 0
    count = len(attacks.seen)
    assert count == 2 + 2 * TRIALS + 4
    assert attacks(*TUNE) == 0
    assert len(attacks.seen) == count


@pytest.mark.parametrize("again", [("--resume",), TUNE, ("--resume", "--no-reuse")])
def test_a_killed_search_loses_at_most_its_running_trial(attacks: Attacks, again: tuple[str, ...]) -> None:
    attacks.killed_at = 2 + 3
    assert attacks(*TUNE, *(["--no-reuse"] if "--no-reuse" in again else [])) == 130
    attacks.killed_at = None
    assert attacks(*again) == 0
    assert len(attacks.seen) == 2 + 2 * TRIALS + 4


def test_where_every_trial_diverges_nothing_is_best(attacks: Attacks) -> None:
    attacks.diverges = True
    assert attacks("lora", "--tune", "2") == 0
    assert [search["best"] for search in attacks.tuning()] == [None, None]
    assert len(attacks.seen) == 2 + 4


def test_what_has_no_rate_of_its_own_is_not_tuned(load_mini: Callable[..., Any]) -> None:
    planned = plan_attacks(load_mini("attack.methods=lora,full,lora_rank,sgd,lr_sweep").profile)
    assert [one.method for one in planned if is_tunable(one)] == ["lora", "full"]


def test_tuning_of_sweeps_alone_is_refused_before_anything_runs(attacks: Attacks, capsys: Any) -> None:
    assert attacks("lr_sweep", "--tune", "2") == 2
    assert "cannot be tuned" in capsys.readouterr().err
    assert attacks.seen == []


@pytest.mark.parametrize("wrong", ["lr=[1e-2, 1e-3]", "schedules=[]", "fractions=[0.0]", "fractions=[0.5, 0.5]"])
def test_a_space_without_room_is_refused(load_mini: Callable[..., Any], wrong: str) -> None:
    from geotrap_cli.errors import UsageError

    with pytest.raises(UsageError, match=r"attack\.tune"):
        load_mini(f"attack.tune.{wrong}")


def test_the_best_so_far_is_on_the_scale_of_the_search(tmp_path: Path) -> None:
    def search(weights: str, qualities: list[float | None]) -> dict[str, Any]:
        trials = [
            {"number": number, "lr": 1e-4, "schedule": "cosine", "steps": 4, "quality_db": quality}
            for number, quality in enumerate(qualities)
        ]
        return {"method": "lora", "weights": weights, "floor_db": 10.0, "best": 1, "trials": trials}

    searches = [search("undefended", [12.0, 20.0]), search("defended", [None, 15.0, 11.0])]
    (tmp_path / "tuning.json").write_text(json.dumps(searches))
    undefended, defended = read_tuning([tmp_path, tmp_path / "elsewhere"])
    assert [point.best_so_far for point in undefended.points] == [0.2, 1.0]
    assert [point.recovery for point in defended.points] == [None, 0.5, 0.1]
    assert [point.best_so_far for point in defended.points] == [None, 0.5, 0.5]
    table = tuning_table([undefended, defended])
    assert table is not None
    assert table.rows[1][-1] == "50% (2)"
    assert tuning_table([]) is None
