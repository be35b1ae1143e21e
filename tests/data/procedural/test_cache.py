from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geotrap_cli.data.procedural import cache as cache_module
from geotrap_cli.data.procedural.cache import RenderCache, default_root

IDS = ["table/table_0000", "fish/fish_0001"]
LOAD_ALL = """
import sys
from pathlib import Path
from geotrap_cli.data.procedural.cache import RenderCache
cache = RenderCache(Path(sys.argv[1]), 0, 32)
for id in sys.argv[2:]:
    cache.load(id)
"""


@pytest.fixture
def cache(tmp_path: Path) -> RenderCache:
    return RenderCache(tmp_path / "cache", seed=0, size=32)


def contents(cache: RenderCache) -> list[bytes]:
    return [cache.path(id).read_bytes() for id in IDS]


def test_an_object_is_made_once_and_read_afterwards(cache: RenderCache, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cache.load(IDS[0])
    monkeypatch.setattr(cache_module, "build_object", None)
    read = cache.load(IDS[0])
    np.testing.assert_array_equal(read.rgba, made.rgba)
    np.testing.assert_array_equal(read.points, made.points)
    assert (read.rgba.dtype, read.points.dtype) == (np.uint8, np.float16)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, None], ids=["empty", "zeros", "cut short"])
def test_a_damaged_file_is_made_anew(cache: RenderCache, damage: bytes | None) -> None:
    cache.load(IDS[0])
    path = cache.path(IDS[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    cache.load(IDS[0])
    assert path.read_bytes() == whole


def test_a_file_of_another_size_is_made_anew(cache: RenderCache, tmp_path: Path) -> None:
    other = RenderCache(tmp_path / "cache", seed=0, size=16)
    other.load(IDS[0])
    cache.path(IDS[0]).parent.mkdir(parents=True)
    cache.path(IDS[0]).write_bytes(other.path(IDS[0]).read_bytes())
    assert cache.load(IDS[0]).rgba.shape == (24, 32, 32, 4)


def test_two_processes_at_once_leave_the_same_whole_files(cache: RenderCache, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOAD_ALL, str(cache.root), *IDS]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    again = RenderCache(tmp_path / "again", seed=0, size=32)
    again.prepare(IDS, workers=1)
    assert contents(cache) == contents(again)
    assert {path for path in cache.folder.rglob("*") if path.is_file()} == {cache.path(id) for id in IDS}


def test_prepare_makes_what_is_missing_in_a_pool(cache: RenderCache) -> None:
    first = "bowl/bowl_0000"
    cache.load(first)
    steps: list[tuple[int, int]] = []
    cache.prepare([first, *IDS], workers=2, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    assert all(cache.path(id).is_file() for id in IDS)


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_rendered(
    cache: RenderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.root.parent.mkdir(parents=True, exist_ok=True)
    cache.root.write_text("a file")
    monkeypatch.setattr(cache_module, "run_all", None)
    with pytest.raises(NotADirectoryError):
        cache.prepare(IDS, workers=2)


def test_seed_and_size_have_their_own_folders(tmp_path: Path) -> None:
    folders = {RenderCache(tmp_path, seed, size).folder for seed in (0, 1) for size in (32, 64)}
    assert len(folders) == 4


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEOTRAP_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("GEOTRAP_CACHE")
    assert default_root().name == "geotrap"
