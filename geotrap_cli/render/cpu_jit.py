"""How the CPU kernels are compiled: where numba keeps its cache, and the exponential the kernels share."""

from __future__ import annotations

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


ensure_cache_directory()

# No fast-math: a forward and a backward kernel that round an alpha differently would disagree on which splats a pixel
# holds. numpy's error model leaves out the zero-division branches that keep loops from being vectorized.
kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(nogil=True, cache=True, error_model="numpy")
reducing_kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"}
)
"""For sums over pixels: they may be added in any order, which is fixed once compiled."""


def exponential(x: float) -> float:
    """Return e**x inside kernels: exact in float64, within 2 ulp for -80 <= x <= 0 in float32."""
    raise NotImplementedError("only numba-compiled code calls this")


@overload(exponential, jit_options={"error_model": "numpy"})
def _exponential(x: Any) -> Callable[[Any], Any]:
    return _exponential_single if x == numba.float32 else _exponential_double


def _exponential_double(x: Any) -> Any:
    return math.exp(x)


# Range reduction by multiples of ln 2 in two parts, then the minimax polynomial of Cephes' expf (S. Moshier):
# unlike math.exp, straight-line arithmetic that the compiler turns into vector instructions.
_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_C7 = np.float32(1.9875691500e-4)
_C6 = np.float32(1.3981999507e-3)
_C5 = np.float32(8.3334519073e-3)
_C4 = np.float32(4.1665795894e-2)
_C3 = np.float32(1.6666665459e-1)
_C2 = np.float32(5.0000001201e-1)
_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_LOWEST = np.float32(-80.0)
_BIAS = np.int32(127)
_MANTISSA_BITS = np.int32(23)


def _exponential_single(x: Any) -> Any:
    x = x if x > _LOWEST else _LOWEST
    n = np.int32(x * _LOG2E - _HALF)
    whole = np.float32(n)
    r = x - whole * _LN2_HIGH - whole * _LN2_LOW
    p = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    power = np.int32(np.int32(n + _BIAS) << _MANTISSA_BITS).view(np.float32)
    return (p * r * r + r + _ONE) * power
