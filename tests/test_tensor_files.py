from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geotrap_cli.errors import UsageError
from geotrap_cli.tensor_files import read_tensors, write_tensors

TENSORS = {
    "transposed": torch.arange(6.0).view(2, 3).T,
    "bf16": torch.tensor([1.5], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "gradient": torch.ones(2, requires_grad=True),
}


def test_round_trip_is_exact_and_any_reader_understands_it(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", TENSORS, {"format": "pt"})
    for read in (read_tensors(tmp_path / "a"), load_file(tmp_path / "a")):
        assert read.keys() == TENSORS.keys()
        assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)
        assert read["bf16"].dtype == torch.bfloat16


def test_others_may_read_the_file(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_tensors(tmp_path / "a", TENSORS)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write_tensors(tmp_path / "full", TENSORS)
    assert caught.value.errno == errno.ENOSPC


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone cannot be read"):
        read_tensors(tmp_path / "gone")
    save_file({"a": torch.zeros(100)}, tmp_path / "cut")
    os.truncate(tmp_path / "cut", 200)
    with pytest.raises(UsageError, match="cut is damaged"):
        read_tensors(tmp_path / "cut")
