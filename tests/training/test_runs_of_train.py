"""``geotrap train`` as a whole: what it leaves behind, and what it survives."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.torch import load_file

from geotrap_cli.__main__ import main
from geotrap_cli.run_folder import LOCK, RunFolder
from geotrap_cli.training import checkpoints, defense, defense_objective

WEIGHTS = "diffusion_pytorch_model.safetensors"
Command = Callable[..., int]


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def train(mini_profile: Path) -> Command:
    return lambda *arguments: main(["train", "--quiet", "--profile", str(mini_profile), *arguments])


@pytest.fixture
def resume() -> Command:
    return lambda *arguments: main(["train", "--quiet", "--resume", *arguments])


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[], list[Path]]:
    """The run folders, the oldest first."""
    return lambda: sorted((tmp_path / "runs").iterdir())


@pytest.fixture(scope="module")
def reference(mini_profile: Path, make_runs: Callable[..., Path]) -> Path:
    """The folder of a run that nothing interrupted."""
    return next(make_runs(["train", "--profile", str(mini_profile)]).iterdir())


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def values(run: Path) -> list[dict[str, float]]:
    """The metrics without the one that is about time."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights(run: Path) -> bytes:
    return (run / "model" / WEIGHTS).read_bytes()


def checkpointed_step(run: Path) -> int:
    return json.loads((run / "checkpoints" / "last" / checkpoints.STATE).read_text())["step"]


class TestWhole:
    def test_what_a_run_leaves_behind(self, reference: Path) -> None:
        run = RunFolder(reference)
        assert run.status == "finished"
        assert {"splits", "data", "weights", "defended", "environment"} <= run.manifest.keys()
        assert run.manifest["weights"] != run.manifest["defended"]
        summary = run.summary()
        assert {row["trap"] for row in summary["depths"]} == {"position", "opacity"}
        assert summary["source_drift"] > 0
        assert {path.name for path in (reference / "model").iterdir()} == {"config.json", WEIGHTS}
        assert steps(reference) == list(range(1, 8))
        assert {"position_static", "opacity_static", "distill", "total", "lr", "gradient_norm"} <= values(reference)[
            0
        ].keys()

    def test_only_the_chosen_layers_move(self, reference: Path, micro_weights: Path) -> None:
        before, after = load_file(micro_weights / WEIGHTS), load_file(reference / "model" / WEIGHTS)
        moved = {name for name in before if not before[name].equal(after[name])}
        head = {name for name in before if name.startswith(("unet.conv_out.", "conv."))}
        assert moved == before.keys() - head

    def test_the_checkpoint_holds_the_same_model(self, reference: Path) -> None:
        assert (reference / "checkpoints" / "last" / "model" / WEIGHTS).read_bytes() == weights(reference)

    def test_log_every_acts_and_the_last_step_is_always_there(
        self, train: Command, runs: Callable[[], list[Path]]
    ) -> None:
        assert train("--set", "train.log_every=3", "--set", "train.steps=4") == 0
        assert steps(runs()[0]) == [3, 4]


class TestKilled:
    DIE = """
import os, signal, sys
from geotrap_cli.__main__ import main
from geotrap_cli.run_folder import RunFolder

log = RunFolder.log

def log_and_die(self, row):
    log(self, row)
    if row.get("step") == 5:
        os.kill(os.getpid(), signal.SIGKILL)

RunFolder.log = log_and_die
sys.exit(main(sys.argv[1:]))
"""

    def test_resuming_a_killed_run_changes_no_bit(
        self, mini_profile: Path, reference: Path, resume: Command, runs: Callable[[], list[Path]]
    ) -> None:
        killed = subprocess.run(
            [sys.executable, "-c", self.DIE, "train", "--quiet", "--profile", str(mini_profile)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        (run,) = runs()
        assert RunFolder(run).status == "interrupted"
        assert checkpointed_step(run) == 3
        assert steps(run) == [1, 2, 3, 4, 5]
        assert resume() == 0
        assert runs() == [run]
        assert weights(run) == weights(reference)
        assert values(run) == values(reference)
        assert RunFolder(run).summary()["depths"] == RunFolder(reference).summary()["depths"]


class TestInterrupted:
    @pytest.fixture
    def press(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C while the fourth step runs."""
        call = defense_objective.DefenseObjective.__call__

        def pressed(self: Any, step: int) -> Any:
            if step == 3:
                signal.raise_signal(signal.SIGINT)
            return call(self, step)

        monkeypatch.setattr(defense_objective.DefenseObjective, "__call__", pressed)

    def test_ctrl_c_keeps_the_step_and_says_how_to_go_on(
        self,
        press: None,
        train: Command,
        resume: Command,
        runs: Callable[[], list[Path]],
        reference: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert train() == 130
        (run,) = runs()
        message = capsys.readouterr().err.splitlines()[-1]
        assert f"geotrap train --resume {run}" in message
        assert RunFolder(run).status == "interrupted"
        assert checkpointed_step(run) == 4
        monkeypatch.undo()
        assert main(["train", "--quiet", "--resume", str(run)]) == 0
        assert weights(run) == weights(reference)
        assert values(run) == values(reference)


class TestFailures:
    def failed(self, run: Path, capsys: pytest.CaptureFixture[str]) -> str:
        """The one line that the user reads."""
        assert RunFolder(run).status == "failed"
        assert not (run / "model").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def test_a_loss_that_is_nan_names_the_step(
        self,
        train: Command,
        resume: Command,
        runs: Callable[[], list[Path]],
        reference: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        call = defense_objective.DefenseObjective.__call__

        def broken(self: Any, step: int) -> Any:
            terms = call(self, step)
            return terms | {"total": terms["total"] * float("nan")} if step == 4 else terms

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(defense_objective.DefenseObjective, "__call__", broken)
            assert train() == 1
        (run,) = runs()
        kept = f"the checkpoint of step 3 is kept in {run / 'checkpoints' / 'last'}"
        assert (
            self.failed(run, capsys) == f"error: total is nan at step 5. Lower the learning rate in a new run; {kept}"
        )
        assert checkpointed_step(run) == 3
        assert resume(str(run)) == 0
        assert weights(run) == weights(reference)

    def test_a_weight_that_is_nan_is_named(
        self, train: Command, runs: Callable[[], list[Path]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = RunFolder.log

        def spoil(self: Any, row: Any) -> None:
            log(self, row)
            if row["step"] == 6:
                spoiled[0].data.view(-1)[0] = float("nan")

        spoiled: list[Any] = []
        select = defense.select_parameters

        def select_and_keep(*arguments: Any) -> Any:
            chosen = select(*arguments)
            spoiled.append(chosen["unet.mid_block.nets.0.conv1.weight"])
            return chosen

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunFolder, "log", spoil)
            patch.setattr(defense, "select_parameters", select_and_keep)
            assert train() == 1
        line = self.failed(runs()[0], capsys)
        assert "weight unet.mid_block.nets.0.conv1.weight is not finite after step 6" in line
        assert checkpointed_step(runs()[0]) == 3

    def test_a_full_disk_is_one_line_and_keeps_the_checkpoint(
        self,
        train: Command,
        runs: Callable[[], list[Path]],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        write, count = checkpoints.write_tensors, [0]

        def full(path: Path, tensors: Any) -> None:
            count[0] += 1
            if count[0] == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write(path, tensors)

        monkeypatch.setattr(checkpoints, "write_tensors", full)
        assert train() == 1
        line = self.failed(runs()[0], capsys)
        assert line.startswith("error: No space left on device")
        assert "Free some space" in line
        assert checkpointed_step(runs()[0]) == 3
        assert [path.name for path in (runs()[0] / "checkpoints").iterdir()] == ["last"]

    def test_two_processes_do_not_share_a_run(
        self, train: Command, runs: Callable[[], list[Path]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(defense, "_train", interrupted)
            assert train() == 130
        (run,) = runs()
        capsys.readouterr()
        with FileLock(run / LOCK):
            assert main(["train", "--quiet", "--resume", str(run)]) == 1
        assert f"another process writes to {run}" in capsys.readouterr().err

    def test_resume_with_other_weights_is_refused(
        self,
        mini_profile: Path,
        make_micro: Callable[..., Any],
        tmp_path: Path,
        runs: Callable[[], list[Path]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from geotrap_cli.models.loading import save_generator

        folder = tmp_path / "weights"
        save_generator(make_micro(seed=1), folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(defense, "_train", interrupted)
            assert main(["train", "-q", "--profile", str(mini_profile), "--set", f"model.weights={folder}"]) == 130
        save_generator(make_micro(seed=2), folder)
        assert main(["train", "-q", "--resume"]) == 2
        assert "the weights of" in capsys.readouterr().err
