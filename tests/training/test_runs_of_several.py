"""Runs that two processes share: the same weights, files and checkpoints as one process leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from geotrap_cli.__main__ import main
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training.effort import EffortMeter

WEIGHTS = Path("model") / "diffusion_pytorch_model.safetensors"
PARAMETERS = Path("checkpoints") / "last" / "parameters.safetensors"
#: Largest difference of a weight, of steps that are a hundred times as long, and of a metric relative to itself.
TOLERANCE = 1e-5
METRIC_TOLERANCE = 1e-4

# One worker: its processes are many as it is, and what they leave is made once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("several")]

#: Runs commands in turn and, of the process of index INTERRUPT, asks to end after so many steps of the first.
SCRIPT = """
import json, os, signal, sys
from geotrap_cli.__main__ import main
from geotrap_cli.training.defense_objective import DefenseObjective
place, step = json.loads(os.environ["INTERRUPT"])
told = []
call = DefenseObjective.__call__
def interrupting(self, at):
    if not told and at == step and int(os.environ["RANK"]) == place:
        told.append(at)
        os.kill(os.getpid(), signal.SIGTERM)
    return call(self, at)
DefenseObjective.__call__ = interrupting
print(json.dumps([main(command) for command in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Ended:
    """What a process leaves behind: the exit code of each command, and what it wrote."""

    codes: list[int]
    out: str
    err: str


def launch(
    todo: list[list[str]], interrupt: tuple[int, int] = (-1, -1), told: Mapping[str, str] | None = None
) -> list[Ended]:
    """Run commands in two processes, as a launcher would start them that was ``told`` more than that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"INTERRUPT": json.dumps(interrupt), "OMP_NUM_THREADS": "1", **(told or {})}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(todo)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        return [_ended(*process.communicate(timeout=150)) for process in started]
    finally:
        for process in started:
            process.kill()


def _ended(out: str, err: str) -> Ended:
    shown, _, codes = out.rstrip("\n").rpartition("\n")
    assert codes.startswith("["), err
    return Ended(json.loads(codes), shown, err)


def tensors(run: Path, file: Path = WEIGHTS) -> dict[str, torch.Tensor]:
    return load_file(run / file)


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_alike(run: Path, reference: Path, file: Path = WEIGHTS) -> None:
    found, expected = tensors(run, file), tensors(reference, file)
    assert found.keys() == expected.keys()
    difference = max(float((found[name] - expected[name]).abs().max()) for name in found)
    assert difference < TOLERANCE


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def begin(profile: Path) -> list[str]:
    """The profile, with a distance whose gradient is smooth at the start: that of |x| there is the sign of rounding."""
    return ["--profile", str(profile), "--set", "retain.power=2"]


def commands(profile: Path, root: Path) -> list[list[str]]:
    """A defense, an attack on it, and a pretraining."""
    shared = ["--device", "cpu", "--runs", str(root)]
    return [
        ["train", *shared, *begin(profile)],
        ["attack", *shared, "--full"],
        ["pretrain", *shared, "--profile", str(profile), "--set", "train.steps=4"],
    ]


def run_of(root: Path, command: str) -> Path:
    (found,) = root.glob(f"*-{command}-*")
    return found


@pytest.fixture(scope="module")
def alone(mini_profile: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    root = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOTRAP_CACHE", str(shared_cache))
        for command in commands(mini_profile, root):
            assert main([*command, "--quiet"]) == 0
    return root


@pytest.fixture(scope="module")
def together(
    mini_profile: Path, shared_cache: Path, alone: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Ended]]:
    """The runs of two processes, and how each of the two ended."""
    root = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOTRAP_CACHE", str(shared_cache))
        return root, launch(commands(mini_profile, root))


class TestTogether:
    def test_one_process_speaks(self, together: tuple[Path, list[Ended]]) -> None:
        first, second = together[1]
        assert first.codes == second.codes == [0, 0, 0]
        assert "next: geotrap attack --lora" in first.out
        assert second.out == second.err == ""

    def test_one_process_writes(self, alone: Path, together: tuple[Path, list[Ended]]) -> None:
        for command in ("train", "attack", "pretrain"):
            run = run_of(together[0], command)
            assert files(run) == files(run_of(alone, command))
            assert RunFolder(run).status == "finished"
            assert [row["step"] for row in rows(run)] == [row["step"] for row in rows(run_of(alone, command))]

    @pytest.mark.parametrize("command", ["train", "pretrain"])
    def test_the_weights_are_those_of_one(self, alone: Path, together: tuple[Path, list[Ended]], command: str) -> None:
        run, reference = run_of(together[0], command), run_of(alone, command)
        assert_alike(run, reference)
        assert_alike(run, reference, PARAMETERS)

    @pytest.mark.parametrize("command", ["train", "attack", "pretrain"])
    def test_the_metrics_are_those_of_one(self, alone: Path, together: tuple[Path, list[Ended]], command: str) -> None:
        for found, expected in zip(rows(run_of(together[0], command)), rows(run_of(alone, command)), strict=True):
            numbers = {
                name: value for name, value in expected.items() if isinstance(value, float) and name != "seconds"
            }
            assert {name: found[name] for name in numbers} == pytest.approx(numbers, rel=METRIC_TOLERANCE, abs=1e-6)

    def test_every_pass_of_every_process_is_counted(self, alone: Path, together: tuple[Path, list[Ended]]) -> None:
        found, expected = (RunFolder(run_of(root, "train")).summary() for root in (together[0], alone))
        for name in ("steps", "gradient_evaluations", "forward_passes"):
            assert found[name] == expected[name]

    def test_the_cells_are_those_of_one(self, alone: Path, together: tuple[Path, list[Ended]]) -> None:
        for subject in ("undefended", "defended"):
            found, expected = (
                json.loads((run_of(root, "attack") / "cells" / f"full-{subject}.json").read_text())
                for root in (together[0], alone)
            )
            assert found["health"] == pytest.approx(expected["health"], rel=METRIC_TOLERANCE)
            assert found["last_loss"] == pytest.approx(expected["last_loss"], rel=METRIC_TOLERANCE)


@pytest.fixture(scope="module")
def both_stopped(mini_profile: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that one process began, twice."""
    root = tmp_path_factory.mktemp("stopped")

    def stop(_: EffortMeter, step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EffortMeter, "finished_step", stop)
        assert main(["train", "--quiet", "--runs", str(root), *begin(mini_profile)]) == 130
    run = run_of(root, "train")
    return run, shutil.copytree(run, tmp_path_factory.mktemp("stopped-too") / run.name)


@pytest.fixture(scope="module")
def stopped(both_stopped: tuple[Path, Path]) -> Path:
    """A run that one process began."""
    return both_stopped[0]


@pytest.fixture(scope="module")
def ended(
    mini_profile: Path, shared_cache: Path, stopped: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Ended]]:
    """A run that two processes began and one of them was told to end; then they go on with ``stopped``."""
    root = tmp_path_factory.mktemp("ended")
    first = ["train", "--device", "cpu", "--runs", str(root), *begin(mini_profile)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOTRAP_CACHE", str(shared_cache))
        told = launch([first, ["train", "--device", "cpu", "--resume", str(stopped)]], interrupt=(1, 4))
    return run_of(root, "train"), told


class TestResumed:
    def test_all_end_where_one_is_told_to(self, ended: tuple[Path, list[Ended]]) -> None:
        run, (first, second) = ended
        assert first.codes[0] == second.codes[0] == 130
        assert RunFolder(run).status == "interrupted"
        assert json.loads((run / "checkpoints" / "last" / "state.json").read_text()) == {"step": 5}

    def test_two_go_on_where_one_was(self, alone: Path, stopped: Path, ended: tuple[Path, list[Ended]]) -> None:
        assert [told.codes[1] for told in ended[1]] == [0, 0]
        assert [row["step"] for row in rows(stopped)] == list(range(1, 8))
        assert_alike(stopped, run_of(alone, "train"))

    def test_one_goes_on_where_two_were(self, alone: Path, ended: tuple[Path, list[Ended]]) -> None:
        run, _ = ended
        assert main(["train", "--quiet", "--resume", str(run)]) == 0
        assert [row["step"] for row in rows(run)] == list(range(1, 8))
        assert_alike(run, run_of(alone, "train"))


#: What ``accelerate launch --use_fsdp --fsdp_version 2`` puts into the environment of each process.
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_ACTIVATION_CHECKPOINTING": "false",
}
#: A defense of some layers at rates of their own: one block is frozen in part, others as a whole.
PARTLY = (
    'layers.units=["unet.conv_in","unet.mid_block.attns.0.attn.proj","unet.up_blocks.1.nets.0"]',
    'layers.lr_multipliers={"unet.conv_in"=0.5}',
    "model.gradient_checkpointing=true",
)


def partly(profile: Path, root: Path) -> list[str]:
    options = [part for option in PARTLY for part in ("--set", option)]
    return ["train", "--device", "cpu", "--runs", str(root), *begin(profile), *options]


@pytest.fixture(scope="module")
def divided(
    mini_profile: Path, shared_cache: Path, both_stopped: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Ended]]:
    """Runs of two processes that divide the weights, in folders by what they are for."""
    root, begun = tmp_path_factory.mktemp("divided"), both_stopped[1]
    shared = ["--device", "cpu", "--runs"]
    todo = [
        ["train", *shared, str(root / "ended"), *begin(mini_profile)],
        ["train", "--device", "cpu", "--resume", str(begun)],
        ["attack", *shared, str(root / "attacked"), "--run", str(begun), "--full"],
        partly(mini_profile, root / "partly"),
        commands(mini_profile, root / "pretrained")[2],
        ["attack", *shared, str(root / "refused"), "--run", str(begun), "--lora"],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOTRAP_CACHE", str(shared_cache))
        return root, launch(todo, interrupt=(1, 4), told=FSDP)


class TestDivided:
    def test_each_command_ends_as_it_should(self, divided: tuple[Path, list[Ended]]) -> None:
        first, second = divided[1]
        assert first.codes == second.codes == [130, 0, 0, 0, 0, 2], first.err
        assert "lora: adapters are kept in one piece, so FSDP cannot divide its weights" in first.err
        assert not (divided[0] / "refused").exists()
        assert second.out == second.err == ""

    def test_two_go_on_where_one_was(
        self, alone: Path, both_stopped: tuple[Path, Path], divided: tuple[Path, list[Ended]]
    ) -> None:
        run, reference = both_stopped[1], run_of(alone, "train")
        assert_alike(run, reference)
        assert_alike(run, reference, PARAMETERS)
        assert files(run) == files(reference)
        found, expected = (RunFolder(folder).summary() for folder in (run, reference))
        for row, wanted in zip(found["depths"], expected["depths"], strict=True):
            assert row["defended"] == pytest.approx(wanted["defended"], rel=METRIC_TOLERANCE)
        assert found["forward_passes"] == expected["forward_passes"]

    def test_one_goes_on_where_two_were(self, alone: Path, divided: tuple[Path, list[Ended]]) -> None:
        run, reference = run_of(divided[0] / "ended", "train"), run_of(alone, "train")
        last = Path("checkpoints") / "last"
        assert json.loads((run / last / "state.json").read_text()) == {"step": 5}
        for file in ("optimizer.safetensors", "parameters.safetensors", f"model/{WEIGHTS.name}"):
            shapes = [
                {name: value.shape for name, value in tensors(of, last / file).items()} for of in (run, reference)
            ]
            assert shapes[0] == shapes[1]
        configs = [(of / last / "model" / "config.json").read_text() for of in (run, reference)]
        assert configs[0] == configs[1]
        assert main(["train", "--quiet", "--resume", str(run)]) == 0
        assert [row["step"] for row in rows(run)] == list(range(1, 8))
        assert_alike(run, reference)

    def test_an_attack(self, alone: Path, divided: tuple[Path, list[Ended]]) -> None:
        run, reference = run_of(divided[0] / "attacked", "attack"), run_of(alone, "attack")
        assert files(run) == files(reference)
        for found, expected in zip(rows(run), rows(reference), strict=True):
            for name in ("total", "gradient_norm"):
                assert found[name] == pytest.approx(expected[name], rel=METRIC_TOLERANCE)
        for subject in ("undefended", "defended"):
            cells = [json.loads((of / "cells" / f"full-{subject}.json").read_text()) for of in (run, reference)]
            assert cells[0]["health"] == pytest.approx(cells[1]["health"], rel=METRIC_TOLERANCE)
            assert_alike(run, reference, Path("weights") / f"full-{subject}" / WEIGHTS.name)

    def test_frozen_parts_and_rates_of_their_own(
        self, mini_profile: Path, divided: tuple[Path, list[Ended]], tmp_path: Path
    ) -> None:
        assert main([*partly(mini_profile, tmp_path), "--quiet"]) == 0
        run, reference = run_of(divided[0] / "partly", "train"), run_of(tmp_path, "train")
        assert_alike(run, reference)
        assert tensors(run, PARAMETERS).keys() == tensors(reference, PARAMETERS).keys()

    def test_a_pretraining_by_an_optimizer_of_whole_matrices(
        self, alone: Path, divided: tuple[Path, list[Ended]]
    ) -> None:
        run, reference = run_of(divided[0] / "pretrained", "pretrain"), run_of(alone, "pretrain")
        assert_alike(run, reference)
        assert_alike(run, reference, PARAMETERS)
        found, expected = ([row["source_eval"] for row in rows(of) if "source_eval" in row] for of in (run, reference))
        assert [pytest.approx(row, rel=METRIC_TOLERANCE) for row in expected] == found
