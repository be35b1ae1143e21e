"""A stored output is the computed one, bit by bit, or it is not used."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import geotrap_cli.training.teacher_cache as module
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.tensor_files import write_tensors
from geotrap_cli.training.teacher import Teacher
from geotrap_cli.training.teacher_cache import TeacherCache, input_key, teacher_folder

CPU = torch.device("cpu")
MakeMicro = Callable[..., LGM]


def image(seed: int = 0, size: int = 16) -> Tensor:
    return torch.randn(1, 4, 9, size, size, generator=torch.Generator().manual_seed(seed))


def output(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(1, 3, 14, generator=torch.Generator().manual_seed(7)).to(dtype)


def never() -> Tensor:
    raise AssertionError("the output was computed again")


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_stored_comes_back_bit_by_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    cache, made = TeacherCache(tmp_path / "new"), output(dtype)
    made[0, 0, 0] = float("nan")
    assert cache.get(image(), lambda: made) is made
    found = cache.get(image(), never)
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), made.view(torch.uint8))


def test_every_bit_of_the_input_is_in_its_key() -> None:
    base = image()
    nudged = base.clone()
    nudged[0, 3, 8, 15, 15] = torch.nextafter(nudged[0, 3, 8, 15, 15], torch.tensor(9.0))
    others = [nudged, base.flip(1), image(1), base.double(), base.reshape(1, 2, 18, 16, 16), base[..., :8]]
    assert len({input_key(tensor) for tensor in [base, *others]}) == 1 + len(others)
    # The same values in another memory layout are the same input.
    assert input_key(base.transpose(3, 4).contiguous().transpose(3, 4)) == input_key(base)


def test_whatever_decides_the_output_has_a_folder_of_its_own(
    make_micro: MakeMicro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(model: LGM, precision: str = "fp32", device: str = "cpu") -> Path:
        return teacher_folder(tmp_path, model, precision, torch.device(device))

    base, nudged = make_micro(), make_micro()
    with torch.no_grad():
        next(nudged.parameters()).flatten()[0] += 1e-6
    folders = [
        folder(base),
        folder(nudged),
        folder(make_micro(seed=1)),
        # The number of heads leaves no trace in the weights.
        folder(make_micro(num_heads=1)),
        folder(base, "bf16"),
        folder(base, "fp32", "cuda"),
        folder(make_micro().to(memory_format=torch.channels_last)),  # type: ignore[call-overload]
    ]
    monkeypatch.setattr(module, "_tf32", lambda: "allowed in another way")
    assert folder(base) == folders[0]
    folders.append(folder(base, "fp32", "cuda"))
    monkeypatch.setattr(module, "LAYOUT_VERSION", module.LAYOUT_VERSION + 1)
    folders.append(folder(base))
    monkeypatch.setattr(torch, "__version__", "99.0")
    folders.append(folder(base))
    assert len(set(folders)) == len(folders)
    monkeypatch.undo()
    assert folder(make_micro()) == folders[0]
    assert folder(base, "auto") == folders[0]


def test_changed_weights_images_or_precision_never_give_an_old_output(make_micro: MakeMicro, tmp_path: Path) -> None:
    def ask(model: LGM, images: Tensor, precision: str = "fp32") -> None:
        cache = TeacherCache(teacher_folder(tmp_path, model, precision, CPU))
        for _ in range(2):
            stored = Teacher(model, precision, CPU, cache)(images).require_raw()
            assert torch.equal(stored, Teacher(model, precision, CPU)(images).require_raw())

    ask(make_micro(), image())
    ask(make_micro(), image(1))
    ask(make_micro(seed=1), image())
    ask(make_micro(num_heads=1), image())
    ask(make_micro(), image(), "bf16")
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "junk", "another", "unlabelled"])
def test_a_damaged_file_is_named_and_made_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    cache, made = TeacherCache(tmp_path / "own"), output()
    cache.get(image(), lambda: made)
    path = only_file(tmp_path / "own")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    TeacherCache(tmp_path / "other").get(image(1), lambda: made)
    write_tensors(tmp_path / "unlabelled", {"raw": made[0]})
    content = {
        "empty": b"",
        "cut": whole[:-5],
        "flipped": bytes(flipped),
        "junk": b"x" * 200,
        "another": only_file(tmp_path / "other").read_bytes(),
        "unlabelled": (tmp_path / "unlabelled").read_bytes(),
    }
    path.write_bytes(content[damage])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.get(image(), made.clone), made)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; the teacher's output is computed again"
    ]
    assert path.read_bytes() == whole
    caplog.clear()
    assert torch.equal(cache.get(image(), never), made)
    assert not caplog.records


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        TeacherCache(tmp_path / "taken").get(image(), output)


def _write_often(folder: Path, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    cache = TeacherCache(folder)
    for _ in range(40):
        cache.get(image(), output)
        # Another key, so that the next round writes again while the other process reads or writes.
        (folder / f"{input_key(image())}.safetensors").unlink(missing_ok=True)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_may_write_the_same_output_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    writers = [context.Process(target=_write_often, args=(tmp_path, start)) for _ in range(2)]
    for writer in writers:
        writer.start()
    start.wait()
    cache = TeacherCache(tmp_path)
    while any(writer.is_alive() for writer in writers):
        assert torch.equal(cache.get(image(), output), output())
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert not caplog.records
    assert torch.equal(cache.get(image(), output), output())
    # Whole files only: nothing half-written is left behind.
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
