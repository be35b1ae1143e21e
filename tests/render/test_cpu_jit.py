"""Compilation of the CPU kernels: the cache folder and the shared power of two."""

from __future__ import annotations

import os
from pathlib import Path

import numba
import numpy as np
import platformdirs
import pytest

from geotrap_cli.render import cpu_jit


@numba.njit
def _powers(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(values)):
        out[i] = cpu_jit.power_of_two(values[i])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 4e-7), (np.float64, 1e-14)])
def test_power_of_two(dtype: type, tolerance: float) -> None:
    values: np.ndarray = np.linspace(-100, 10, 100_001).astype(dtype)
    out = np.empty_like(values)
    _powers(values, out)
    np.testing.assert_allclose(out, np.exp2(values.astype(np.float64)), rtol=tolerance)


def test_power_of_two_stays_tiny_below_its_range() -> None:
    out = np.empty(2, np.float32)
    _powers(np.array([-1e6, -3e38], np.float32), out)
    assert (out < 1e-30).all()


def test_kernels_older_than_a_source_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    for name, time in (("base.py", 100), ("cpu_forward.py", 100), ("cpu_coverage.py", 300)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    for name, time in (("cpu_forward.old.nbi", 200), ("cpu_forward.new.nbi", 400)):
        (tmp_path / "__pycache__" / name).touch()
        os.utime(tmp_path / "__pycache__" / name, (time, time))
    cpu_jit.discard_stale_kernels(tmp_path)
    assert [path.name for path in (tmp_path / "__pycache__").iterdir()] == ["cpu_forward.new.nbi"]


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return monkeypatch


def test_a_writable_package_keeps_its_cache(unset: pytest.MonkeyPatch) -> None:
    unset.setattr(os, "access", lambda *_: True)
    cpu_jit.ensure_cache_directory()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_a_read_only_package_gets_the_users_cache(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(os, "access", lambda path, _: tmp_path in Path(path).parents)
    unset.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    cpu_jit.ensure_cache_directory()
    assert Path(os.environ["NUMBA_CACHE_DIR"]) == tmp_path / "geotrap" / "numba"
    assert os.environ["NUMBA_CACHE_DIR"] == numba.config.CACHE_DIR
    unset.delenv("NUMBA_CACHE_DIR")


def test_without_a_writable_home_the_cache_is_temporary(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setattr(os, "access", lambda *_: False)
    unset.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    cpu_jit.ensure_cache_directory()
    assert "geotrap-numba-" in os.environ["NUMBA_CACHE_DIR"]
    Path(os.environ["NUMBA_CACHE_DIR"]).rmdir()
    unset.delenv("NUMBA_CACHE_DIR")


def test_the_users_own_choice_stands(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    unset.setattr(os, "access", lambda *_: False)
    cpu_jit.ensure_cache_directory()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path)
