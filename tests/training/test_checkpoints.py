from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.training import checkpoints
from geotrap_cli.training.checkpoints import Checkpointer

SHAPES: dict[str, tuple[int, ...]] = {"weight": (2, 3), "bias": (3,)}


def make(folder: Path, value: float = 0.0, shapes: dict[str, tuple[int, ...]] = SHAPES, **rest: Any) -> Checkpointer:
    tensors = {name: nn.Parameter(torch.full(shape, value)) for name, shape in shapes.items()}
    return Checkpointer(folder / "last", tensors, torch.optim.AdamW(tensors.values(), lr=0.1), **rest)


def step(checkpointer: Checkpointer) -> None:
    for tensor in checkpointer.tensors.values():
        # The weights pull on themselves, so that what a step does depends on the steps before it.
        tensor.grad = (tensor.detach() - 3.0) * (1.0 + 10.0 * tensor.detach())
    checkpointer.optimizer.step()


def values(checkpointer: Checkpointer) -> dict[str, list[Any]]:
    return {name: tensor.tolist() for name, tensor in checkpointer.tensors.items()}


def test_no_checkpoint_is_step_zero(tmp_path: Path) -> None:
    assert make(tmp_path).restore() == 0


def test_round_trip(tmp_path: Path) -> None:
    first = make(tmp_path)
    step(first)
    first.save(5)
    step(first)
    first.save(6)
    second = make(tmp_path, value=9.0)
    assert second.restore() == 6
    assert values(second) == values(first)
    step(first)
    step(second)
    assert values(second) == values(first)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_the_model_is_written_along(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    first = make(tmp_path, model_writer=lambda: write)
    first.save(1)
    assert (tmp_path / "last" / "model" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named_and_the_last_checkpoint_stays(tmp_path: Path, bad: float) -> None:
    first = make(tmp_path, value=1.0)
    first.save(3)
    with torch.no_grad():
        first.tensors["bias"][1] = bad
    with pytest.raises(NonFiniteError, match="weight bias is not finite after step 4"):
        first.save(4)
    second = make(tmp_path)
    assert second.restore() == 3
    assert values(second)["bias"] == [1.0, 1.0, 1.0]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path, value=1.0)
    first.save(3)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        first.save(4)
    assert make(tmp_path).restore() == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize(
    ("shapes", "culprit"),
    [
        ({"weight": (2, 3)}, "bias"),
        ({"weight": (2, 3), "bias": (3,), "more": (1,)}, "more"),
        ({"weight": (2, 3), "bias": (1,)}, "bias"),
        # A saved (3,) would broadcast into (2, 3) without a word.
        ({"weight": (2, 3), "bias": (2, 3)}, "bias"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], culprit: str
) -> None:
    make(tmp_path, value=1.0).save(3)
    other = make(tmp_path, value=5.0, shapes=shapes)
    with pytest.raises(UsageError, match=f"1 tensors differ, such as {culprit}"):
        other.restore()
    assert all((tensor == 5.0).all() for tensor in other.tensors.values())


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.save(3)
    file = tmp_path / "last" / checkpoints.PARAMETERS
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UsageError, match=r"parameters\.safetensors is damaged"):
        make(tmp_path).restore()


def test_a_save_that_was_killed_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    make(tmp_path, value=1.0).save(3)
    (tmp_path / "last").rename(tmp_path / ".last.01234567.old")
    (tmp_path / ".last.89abcdef.tmp").mkdir()
    second = make(tmp_path)
    assert second.restore() == 3
    assert values(second)["bias"] == [1.0, 1.0, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_only_data_is_on_disk(tmp_path: Path) -> None:
    first = make(tmp_path)
    step(first)
    first.save(1)
    assert {path.suffix for path in (tmp_path / "last").iterdir()} == {".json", ".safetensors"}
    assert json.loads((tmp_path / "last" / checkpoints.STATE).read_text()) == {"step": 1}
