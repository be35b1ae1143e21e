"""Bad input, end to end: one line that says what, where and what next, the right exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file

from geotrap_cli import atomic
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training import attack_cell, defense_objective

SIZE, VIEWS, RADIUS, FOV = 16, 8, 2.0, 0.9
TENSORS = "diffusion_pytorch_model.safetensors"
PROFILE = """
[model]
weights = "weights"
[data]
kind = "blender"
root = "shop"
target = ["knife"]
[train]
steps = 3
batch_size = 2
lr = 1e-3
checkpoint_every = 1
log_every = 1
[traps.position]
[attack]
steps = 1
batch_size = 1
supervised_views = 1
evaluations = 1
[eval]
objects = 1
views = 1
"""

Change = Callable[[Path], Any]


def pose(index: int) -> np.ndarray:
    """Camera-to-world on a ring, looking at the origin, in Blender's convention."""
    angle = 2 * math.pi * index / VIEWS
    back = np.array([math.cos(angle), math.sin(angle), 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack(([-math.sin(angle), math.cos(angle), 0.0], [0.0, 0.0, 1.0], back))
    matrix[:3, 3] = RADIUS * back
    return matrix


def write_ball(folder: Path, colour: tuple[int, int, int]) -> None:
    """A ball at the origin: every camera sees the same disc."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[x**2 + y**2 < 25] = (*colour, 255)
    for index in range(VIEWS):
        Image.fromarray(picture).save(folder / f"r_{index}.png")
    frames = [{"file_path": f"r_{index}", "transform_matrix": pose(index).tolist()} for index in range(VIEWS)]
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": FOV, "frames": frames}))


@pytest.fixture(scope="session")
def made_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = tmp_path_factory.mktemp("made") / "shop"
    for index in range(3):
        write_ball(shop / "knife" / f"{index}", (200, 40 * index, 40))
        write_ball(shop / "mug" / f"{index}", (40, 40 * index, 200))
    return shop


@pytest.fixture
def here(tmp_path: Path, made_shop: Path, micro_weights: Path) -> Path:
    """The current folder: a profile, a data set and weights, all of them sound."""
    shutil.copytree(made_shop, tmp_path / "shop")
    shutil.copytree(micro_weights, tmp_path / "weights")
    (tmp_path / "mine.toml").write_text(PROFILE)
    return tmp_path


@pytest.fixture
def train(geotrap: Any, here: Path) -> Callable[..., Any]:
    return lambda *arguments: geotrap("train", "-q", "-p", "mine.toml", *arguments)


def the_run(here: Path) -> RunFolder:
    (path,) = (here / "runs").iterdir()
    return RunFolder(path)


def refused(done: Any, code: int, *told: str) -> None:
    """It failed with ``code`` and one line that tells everything in ``told``."""
    assert (done.code, done.out) == (code, ""), done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    for text in told:
        assert text in done.err


def edit(table: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(table.read_text())
    change(values)
    table.write_text(json.dumps(values))


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def scale_rotation(table: dict[str, Any]) -> None:
    table["frames"][2]["transform_matrix"][2][1] = 1.5


class TestData:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda shop: (shop / "mug/1/r_3.png").unlink(), ("mug/1/r_3.png: image not found", "remove its frame")),
            (lambda shop: cut(shop / "mug/1/r_3.png"), ("mug/1/r_3.png: damaged image", "Render it again")),
            (lambda shop: cut(shop / "knife/2/r_0.png", 0.0), ("knife/2/r_0.png: damaged image",)),
            (
                lambda shop: Image.new("RGB", (SIZE, SIZE)).save(shop / "knife/0/r_0.png"),
                ("knife/0/r_0.png: RGB image without alpha", "transparent film"),
            ),
            (
                lambda shop: edit(shop / "knife/1/transforms.json", scale_rotation),
                ("knife/1/transforms.json: frame 2: transform_matrix holds no rotation", "determinant"),
            ),
            (
                lambda shop: edit(shop / "knife/1/transforms.json", lambda table: table.pop("camera_angle_x")),
                ("knife/1/transforms.json: no intrinsics", "Give camera_angle_x"),
            ),
            (
                lambda shop: edit(shop / "knife/1/transforms.json", lambda table: table["frames"].clear()),
                ("knife/1/transforms.json: frames",),
            ),
            (lambda shop: cut(shop / "mug/0/transforms.json"), ("mug/0/transforms.json: Invalid JSON",)),
            (lambda shop: (shop / "mug/0/transforms.json").unlink(), ("mug/0/transforms.json: not found",)),
            (lambda shop: shutil.rmtree(shop / "knife"), ("data.target: the data set has no category 'knife'", "mug")),
            (lambda shop: shutil.rmtree(shop / "knife/0"), ("data.target: the data set has 2 groups",)),
            (shutil.rmtree, ("shop: no such folder",)),
        ],
        ids=[
            "missing-png",
            "cut-png",
            "empty-png",
            "no-alpha",
            "no-rotation",
            "no-intrinsics",
            "no-frames",
            "cut-json",
            "no-json",
            "no-target-objects",
            "too-few-target-objects",
            "no-folder",
        ],
    )
    def test_what_is_wrong_with_the_files_is_told_before_training(
        self, train: Any, here: Path, change: Change, told: tuple[str, ...]
    ) -> None:
        change(here / "shop")
        refused(train(), 2, *told)
        assert not list(here.glob("runs/*/checkpoints"))

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("data.target=knive", "data.target: the data set has no category 'knive'. Did you mean 'knife'?"),
            ("data.benign=forks", "data.benign: the data set has no category 'forks'. It has: knife, mug"),
            ("data.source=mugs", "data.source: the data set has no category 'mugs'. Did you mean 'mug'?"),
            ("data.benign=knife", "category 'knife' is in both data.target and data.benign"),
            ("data.root=mine.toml", "mine.toml: neither a folder nor a .tar or .zip file"),
            ("eval.views=7", "views"),
        ],
    )
    def test_categories_and_folders_that_do_not_exist(self, train: Any, override: str, told: str) -> None:
        refused(train("--set", override), 2, told)

    def test_as_json(self, train: Any, here: Path) -> None:
        cut(here / "shop/mug/1/r_3.png")
        done = train("--json")
        assert (done.code, done.out) == (2, "")
        assert done.error["exit_code"] == 2
        assert done.error["message"].endswith("mug/1/r_3.png: damaged image (not a whole PNG file)")
        assert done.error["hint"] == "Render it again or remove its frame"


class Intruder:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def with_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / TENSORS)
        change(tensors)
        save_file(tensors, folder / TENSORS)

    return rewrite


def only_a_stranger(tensors: dict[str, torch.Tensor]) -> None:
    tensors.clear()
    tensors["a"] = torch.zeros(1)


class TestWeights:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda folder: cut(folder / TENSORS), (f"{TENSORS} cannot be read as safetensors", "Fetch the file")),
            (lambda folder: cut(folder / TENSORS, 0.0), ("cannot be read as safetensors",)),
            (with_tensors(lambda t: t.pop("conv.bias")), ("1 missing (conv.bias)",)),
            (with_tensors(lambda t: t.update(strange=torch.zeros(2))), ("1 unexpected (strange)",)),
            (with_tensors(lambda t: t.update({"conv.bias": torch.zeros(3)})), ("conv.bias is [3] instead of [14]",)),
            (with_tensors(lambda t: t["conv.bias"].fill_(math.nan)), ("tensor conv.bias holds NaN", "use others")),
            (with_tensors(only_a_stranger), ("missing", "1 unexpected (a)")),
            (
                lambda folder: (folder / TENSORS).write_bytes(pickle.dumps(Intruder())),
                ("cannot be read as safetensors",),
            ),
            (lambda folder: (folder / "config.json").write_text("{"), ("config.json cannot be read",)),
            (
                lambda folder: (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}'),
                ("describes 'UNet2DModel', not a generator that is installed",),
            ),
            (lambda folder: (folder / TENSORS).unlink(), ("weights holds no weights",)),
            (shutil.rmtree, ("weights do not exist", "Use 'shipped'")),
        ],
        ids=[
            "cut",
            "empty",
            "missing",
            "unexpected",
            "misshapen",
            "nan",
            "foreign",
            "pickle",
            "cut-config",
            "foreign-config",
            "no-tensors",
            "nothing",
        ],
    )
    def test_damaged_and_foreign_weights(self, train: Any, here: Path, change: Change, told: tuple[str, ...]) -> None:
        change(here / "weights")
        refused(train(), 2, *told)
        assert not (here / "runs").exists()
        assert not (here / "unpickled").exists()

    def test_a_preset_that_the_folder_does_not_have(self, train: Any) -> None:
        refused(train("--set", "model.preset=big"), 2, "model.preset is big, but", "Leave model.preset out")

    def test_formats_that_can_run_code_are_not_opened(self, train: Any, here: Path) -> None:
        (here / "model.pth").write_bytes(pickle.dumps(Intruder()))
        refused(train("--set", "model.weights=model.pth"), 2, "model.pth are not a .safetensors file", "run code")
        assert not (here / "unpickled").exists()

    def test_the_attack_notices_weights_that_are_not_those_of_the_defense(
        self, train: Any, geotrap: Any, here: Path
    ) -> None:
        assert train().code == 0
        with_tensors(lambda tensors: tensors["conv.bias"].add_(1))(the_run(here).path / "model")
        refused(geotrap("attack", "-q"), 2, "the defended weights are not those with which", "train again")


class TestEndings:
    def test_a_loss_that_is_nan_stops_and_keeps_the_checkpoint(self, train: Any, geotrap: Any, here: Path) -> None:
        done = train("--set", "train.lr=1e30")
        run = the_run(here)
        kept = f"the checkpoint of step 1 is kept in runs/{run.name}/checkpoints/last"
        refused(done, 1, "is nan at step 2", "Lower the learning rate", kept)
        assert run.status == "failed"
        assert [row["step"] for row in run.metrics()] == [1]
        assert (run.path / "checkpoints/last/model" / TENSORS).is_file()
        refused(geotrap("attack"), 2, "no finished train run in runs (1 unfinished)", "Run `geotrap train` first")

    def test_a_full_disk(self, train: Any, geotrap: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        left = [20]

        def flush(handle: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, "fsync", flush)
            refused(train(), 1, f"{os.strerror(errno.ENOSPC)}: runs/", "Free some space", "--resume goes on")
        assert not list((here / "runs").rglob("*.tmp"))
        assert geotrap("train", "-q", "--resume").code == 0

    def test_a_run_that_another_process_writes(self, train: Any, geotrap: Any, here: Path) -> None:
        assert train().code == 0
        run = the_run(here)
        run.record(status="failed")
        before = (run.path / "manifest.json").read_bytes()
        with FileLock(run.path / ".lock"):
            refused(geotrap("train", "--resume", str(run.path)), 1, f"another process writes to {run.path}", "Wait")
        assert (run.path / "manifest.json").read_bytes() == before

    def test_an_interrupted_run_says_how_to_go_on(
        self, train: Any, geotrap: Any, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = defense_objective.DefenseObjective.__call__

        def pressed(self: Any, step: int) -> Any:
            if step == 1:
                signal.raise_signal(signal.SIGINT)
            return call(self, step)

        with monkeypatch.context() as patch:
            patch.setattr(defense_objective.DefenseObjective, "__call__", pressed)
            done = train()
        run = the_run(here)
        refused(done, 130, f"the state is in runs/{run.name}", f"Go on with `geotrap train --resume runs/{run.name}`")
        assert run.status == "interrupted"
        refused(geotrap("train", "--resume", "--set", "train.steps=9"), 2, "--set cannot act")
        assert geotrap("train", "-q", "--resume").code == 0
        assert [row["step"] for row in run.metrics()] == [1, 2, 3]
        refused(geotrap("train", "--resume", str(run.path)), 2, "is finished")

    def test_an_interrupted_attack_loses_one_cell_at_most(
        self, train: Any, geotrap: Any, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert train().code == 0
        ran: list[str] = []
        run_cell = attack_cell.CellRunner.run

        def run_or_stop(self: Any, *arguments: Any) -> Any:
            ran.append(self.name)
            if len(ran) == 2:
                raise KeyboardInterrupt
            return run_cell(self, *arguments)

        monkeypatch.setattr(attack_cell.CellRunner, "run", run_or_stop)
        refused(geotrap("attack", "-q", "--lora"), 130, "go on with `geotrap attack --resume runs/".capitalize())
        assert geotrap("attack", "-q", "--resume").code == 0
        assert ran == ["lora-undefended", "lora-defended", "lora-defended"]

    @pytest.mark.parametrize("name", ["manifest.json", "profile.toml"])
    def test_a_run_folder_with_damaged_files(self, train: Any, geotrap: Any, here: Path, name: str) -> None:
        assert train().code == 0
        (the_run(here).path / name).write_text("{")
        refused(geotrap("attack", "-q"), 2, name, "is not")
