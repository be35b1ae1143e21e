"""How the CPU kernels are compiled: where numba keeps its cache, and the power of two the kernels share."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import platformdirs
from numba.extending import overload


def ensure_cache_directory() -> None:
    """Point numba's on-disk cache to a writable folder when it cannot sit beside the kernels."""
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(Path(__file__).parent, os.W_OK):
        return
    folder = Path(platformdirs.user_cache_dir("geotrap")) / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    chosen = str(folder) if writable else tempfile.mkdtemp(prefix="geotrap-numba-")
    os.environ["NUMBA_CACHE_DIR"] = chosen
    numba.config.CACHE_DIR = chosen


def discard_stale_kernels(folder: Path) -> None:
    """Forget compiled kernels beside the sources in `folder` that are older than any of these sources.

    numba compares a kernel with its own file alone, but kernels are inlined into others across files.
    """
    newest = max(source.stat().st_mtime for source in (folder / "base.py", *folder.glob("cpu_*.py")))
    for index in (folder / "__pycache__").glob("cpu_*.nbi"):
        # Another process may be doing the same, or own the folder.
        with contextlib.suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()


ensure_cache_directory()
discard_stale_kernels(Path(__file__).parent)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# No fast-math: compiled code must keep comparing with infinity, and agree with itself between forward and backward.
# numpy's error model leaves out the zero-division branches that would keep loops from being vectorized.
kernel: Decorator = numba.njit(nogil=True, cache=True, error_model="numpy")
fused_kernel: Decorator = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
"""Products and sums may become one instruction."""
reducing_kernel: Decorator = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})
"""Sums over pixels may be added in any order, which is fixed once compiled."""


def power_of_two(x: float) -> float:
    """Return 2**x inside kernels: exact in float64, to 3e-7 relative in float32 for -120 <= x <= 120."""
    raise NotImplementedError("only numba-compiled code calls this")


@overload(power_of_two, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _power_of_two(x: Any) -> Callable[[Any], Any]:
    return _power_single if x == numba.float32 else _power_double


def _power_double(x: Any) -> Any:
    return math.exp(x * math.log(2.0))


# 2**x = 2**n 2**f with n the nearest integer, f in [-1/2, 1/2], and a minimax polynomial for 2**f. Unlike math.exp it
# is straight-line arithmetic, which the compiler turns into vector instructions.
_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(value)
    for value in (1.0000000716546849, 0.6931469670647608, 0.2402211972384002, 0.0555071327349740, 0.0096755413344722,
                  0.0013276471992717)
)  # fmt: skip
_LOWEST = np.float32(-120.0)
_ROUNDING = np.float32(1.5 * 2**23)  # adding it leaves the nearest integer in the low bits of the sum
_MANTISSA_BITS = np.int32(23)


def _power_single(x: Any) -> Any:
    x = x if x > _LOWEST else _LOWEST
    shifted = x + _ROUNDING
    f = x - (shifted - _ROUNDING)
    f2 = f * f
    p = (_C0 + _C1 * f) + f2 * ((_C2 + _C3 * f) + f2 * (_C4 + _C5 * f))
    exponent = np.int32(np.float32(shifted).view(np.int32) << _MANTISSA_BITS)
    return np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)
