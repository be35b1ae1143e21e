"""Run folders: what is in them, who may write, which one is the latest."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from geotrap_cli import run_folder, runs
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile import load_profile
from geotrap_cli.provenance import record_environment
from geotrap_cli.runs import RunFolder, create_run, latest_run, list_runs, open_run, resumable_run


def _make(root: Path, command: str = "train", created: str | None = None, status: str | None = None) -> RunFolder:
    run = create_run(command, "pos_opacity", "", root)
    changes = {"created": created, "status": status}
    run.record(**{key: value for key, value in changes.items() if value})
    return run


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    run = _make(tmp_path)
    with run:
        run.finish({"done": True})
    return run


class TestFolder:
    def test_name_and_files(self, tmp_path: Path) -> None:
        run = create_run("analyze-layers", "my profile/ü", "[train]\n", tmp_path / "new" / "runs", {"seed": 3})
        assert re.fullmatch(r"\d{8}T\d{6}Z-analyze-layers-my_profile_", run.name)
        assert run.profile_path.read_text() == "[train]\n"
        assert run.manifest["seed"] == 3
        assert run.command == "analyze-layers"
        assert run.profile_name == "my profile/ü"

    def test_two_in_one_second_get_two_folders(self, tmp_path: Path) -> None:
        assert len({_make(tmp_path).path for _ in range(3)}) == 3

    def test_open_refuses_other_folders(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is not a run folder"):
            open_run(tmp_path)

    def test_root_is_stated_or_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GEOTRAP_RUNS", raising=False)
        assert runs.runs_root() == Path("runs")
        monkeypatch.setenv("GEOTRAP_RUNS", "elsewhere")
        assert runs.runs_root() == Path("elsewhere")
        assert runs.runs_root(Path("stated")) == Path("stated")


class TestStatus:
    def test_finished(self, finished: RunFolder) -> None:
        assert finished.status == "finished"
        assert finished.summary() == {"done": True}

    def test_running_while_written_to(self, tmp_path: Path) -> None:
        with _make(tmp_path) as run:
            assert run.status == "running"
            assert RunFolder(run.path).status == "running"

    def test_failed_with_the_reason(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        with pytest.raises(ValueError, match="no"), run:
            raise ValueError("no good")
        assert run.status == "failed"
        assert run.manifest["error"] == "ValueError: no good"

    def test_failure_that_cannot_be_noted_is_told_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = _make(tmp_path)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(ValueError, match="no good") as caught, run:
            monkeypatch.setattr(run_folder, "write_json", full)
            raise ValueError("no good")
        assert caught.value.run_path == run.path  # type: ignore[attr-defined]
        # Its lock is free again, so the run counts as interrupted and may be resumed.
        assert run.status == "interrupted"

    def test_interrupted_and_the_interrupt_names_the_run(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        with pytest.raises(KeyboardInterrupt) as caught, run:
            raise KeyboardInterrupt
        assert run.status == "interrupted"
        assert caught.value.run_path == run.path  # type: ignore[attr-defined]

    def test_process_that_died_leaves_an_interrupted_run(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        code = (
            "import os, sys; from pathlib import Path; from geotrap_cli.runs import RunFolder\n"
            "RunFolder(Path(sys.argv[1])).__enter__(); os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code, run.path], check=False)
        assert run.manifest["status"] == "running"
        assert run.status == "interrupted"

    def test_summary_of_an_unfinished_run_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot read .*summary\.json"):
            _make(tmp_path).summary()

    def test_damaged_file_is_named(self, finished: RunFolder) -> None:
        (finished.path / "summary.json").write_text("{")
        with pytest.raises(UsageError, match=r"summary\.json is not JSON"):
            finished.summary()


class TestLock:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_folder, "_LOCK_PATIENCE_SECONDS", 0.01)

    @pytest.fixture
    def locked(self, finished: RunFolder) -> Iterator[RunFolder]:
        with FileLock(finished.path / ".lock"):
            yield finished

    def test_second_writer_is_refused_and_changes_nothing(self, locked: RunFolder) -> None:
        before = (locked.path / "manifest.json").read_bytes()
        with pytest.raises(GeotrapError, match=f"another process writes to {re.escape(str(locked.path))}") as caught:
            locked.__enter__()
        assert caught.value.exit_code == 1
        assert (locked.path / "manifest.json").read_bytes() == before

    def test_lock_is_given_back_after_a_failure(self, finished: RunFolder) -> None:
        with pytest.raises(ValueError), RunFolder(finished.path):
            raise ValueError
        with RunFolder(finished.path):
            pass

    def test_looking_does_not_lock(self, finished: RunFolder) -> None:
        with finished:
            assert [run.status for run in list_runs(finished.path.parent)] == ["running"]


class TestMetrics:
    def test_each_line_is_on_disk_at_once(self, tmp_path: Path) -> None:
        with _make(tmp_path) as run:
            run.log({"step": 1, "total": 0.5})
            assert json.loads((run.path / "metrics.jsonl").read_text()) == {"step": 1, "total": 0.5}

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_nonfinite_value_is_an_error_that_names_it(self, tmp_path: Path, value: float) -> None:
        with _make(tmp_path) as run:
            with pytest.raises(NonFiniteError, match=r"metric total is -?(nan|inf) at step 7"):
                run.log({"step": 7, "total": value})
            assert list(run.metrics()) == []

    def test_resumed_run_writes_the_lines_after_its_checkpoint_again(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        with run:
            for step in (10, 20, 30, 30, 40):
                run.log({"step": step, "try": 1})
        with (run.path / "metrics.jsonl").open("a") as handle:
            handle.write('{"step": 50, "tr')
        with open_run(run.path) as again:
            again.log({"step": 30, "try": 2})
            again.log({"step": 30, "try": 3})
        assert [(row["step"], row["try"]) for row in run.metrics()] == [(10, 1), (20, 1), (30, 2), (30, 3)]

    def test_each_cell_counts_its_own_steps(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        with run:
            for cell, steps in (("a", (1, 2, 3)), ("b", (1, 2))):
                for step in steps:
                    run.log({"cell": cell, "step": step, "total": 0.5})
        with open_run(run.path) as resumed:
            # The second cell had not ended: it begins anew, and the first stays.
            resumed.log({"cell": "b", "step": 1, "total": 0.25})
        rows = [(row["cell"], row["step"], row["total"]) for row in run.metrics()]
        assert rows == [("a", 1, 0.5), ("a", 2, 0.5), ("a", 3, 0.5), ("b", 1, 0.25)]

    def test_damaged_line_is_named(self, tmp_path: Path) -> None:
        run = _make(tmp_path)
        (run.path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
        with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2 is not JSON"):
            list(run.metrics())


class TestFinding:
    def test_latest_is_the_newest_finished_of_its_kind(self, tmp_path: Path) -> None:
        wanted = _make(tmp_path, created="2026-01-02", status="finished")
        _make(tmp_path, created="2026-01-01", status="finished")
        _make(tmp_path, created="2026-01-03", status="failed")
        _make(tmp_path, created="2026-01-04", status="running")
        _make(tmp_path, "attack", created="2026-01-05", status="finished")
        assert latest_run("train", tmp_path).path == wanted.path
        assert [run.manifest["created"][-1] for run in list_runs(tmp_path)] == ["5", "4", "3", "2", "1"]

    @pytest.mark.parametrize("root", ["", "missing"])
    def test_none_names_the_next_command(self, tmp_path: Path, root: str) -> None:
        with pytest.raises(UsageError, match=r"no finished train run in .*\. Run `geotrap train` first"):
            latest_run("train", tmp_path / root)

    def test_unfinished_ones_are_mentioned(self, tmp_path: Path) -> None:
        _make(tmp_path, status="failed")
        with pytest.raises(UsageError, match=r"\(1 unfinished\)"):
            latest_run("train", tmp_path)

    def test_folders_of_others_are_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "manifest.json").write_text('{"name": "app"}')
        assert list_runs(tmp_path) == []


class TestResume:
    def test_latest_unfinished_of_the_command(self, tmp_path: Path) -> None:
        _make(tmp_path, created="2026-01-03", status="finished")
        wanted = _make(tmp_path, created="2026-01-02", status="interrupted")
        _make(tmp_path, created="2026-01-01", status="failed")
        assert resumable_run(None, "train", tmp_path).path == wanted.path

    def test_finished_run_is_refused(self, finished: RunFolder) -> None:
        with pytest.raises(UsageError, match="is finished"):
            resumable_run(finished.path, "train", finished.path.parent)

    def test_run_of_another_command_is_refused(self, tmp_path: Path) -> None:
        run = _make(tmp_path, "attack", status="failed")
        with pytest.raises(UsageError, match="is a run of `geotrap attack`"):
            resumable_run(run.path, "train", tmp_path)

    def test_a_run_that_is_being_written_is_left_alone(self, tmp_path: Path) -> None:
        waiting = create_run("train", "p", "", tmp_path)
        with create_run("train", "p", "", tmp_path):
            assert resumable_run(None, "train", tmp_path).path == waiting.path

    def test_options_create_then_resume_the_same_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        options = CommonOptions(runs=tmp_path, overrides=("train.steps=3",), seed=5)
        loaded = options.load_profile("train")
        run = runs.create_or_resume("train", options, loaded)
        assert run.manifest["environment"]["packages"]["torch"] == torch.__version__
        with pytest.raises(KeyboardInterrupt), run:
            raise KeyboardInterrupt

        # The environment has changed since; the run has not.
        monkeypatch.setenv("GEOTRAP_TRAIN__STEPS", "4")
        again = CommonOptions(runs=tmp_path, resume="latest")
        reloaded = again.load_profile("train")
        assert reloaded.profile == loaded.profile
        assert (reloaded.profile.train.steps, reloaded.profile.train.seed) == (3, 5)
        assert reloaded.name == "pos_opacity"
        assert runs.create_or_resume("train", again, reloaded).path == run.path

    def test_run_option_brings_its_profile(self, tmp_path: Path) -> None:
        loaded = load_profile("pos_scale", ["train.steps=3"])
        run = runs.create_or_resume("train", CommonOptions(runs=tmp_path), loaded)
        attacking = CommonOptions(run=run.path, overrides=("attack.steps=9",), seed=2)
        found = attacking.load_profile("attack", seed_table="attack")
        assert found.name == "pos_scale"
        assert (found.profile.train.steps, found.profile.attack.steps, found.profile.attack.seed) == (3, 9, 2)


class TestProvenance:
    def test_environment_is_plain_json(self) -> None:
        record = record_environment("cpu")
        assert json.loads(json.dumps(record)) == record
        assert record["packages"]["geotrap"]
        assert record["cpus"] == os.cpu_count()
