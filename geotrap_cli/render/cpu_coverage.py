"""Which pixels a splat covers, and its alpha there: shared by the forward and the backward kernel.

An image is a flat buffer of blocks of eight neighbouring pixels of a row. Each block holds one run of LANES values per
channel: constant offsets inside a block let the compiler turn the loop over its pixels into vector instructions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from geotrap_cli.render.cpu_jit import fused_kernel, kernel, power_of_two
from geotrap_cli.render.cpu_projection import CUTOFF, HALF_HEIGHT, PEAK, PRECISION_X, PRECISION_Y, SLOPE, X, Y

LANES = 8
HALF_LOG2_E = 0.5 / math.log(2.0)
# Rounding in the row interval must not lose a pixel; each pixel's own alpha decides in the end.
_SLACK = 0.02


@kernel
def row_blocks(width: int) -> int:
    """Blocks in a row of an image."""
    return (width + LANES - 1) // LANES


@fused_kernel
def raw_alpha(distance: float, curvature: float, level: float) -> float:
    """Alpha before the cap, `distance` pixels from the splat's centre in a row whose largest log2 alpha is `level`."""
    return power_of_two(level - curvature * distance * distance)


@kernel
def curvature_of(screen: Any, n: int) -> float:
    """How log2 alpha falls with the squared distance in a row."""
    return screen.dtype.type(HALF_LOG2_E) * screen[n, PRECISION_X]


@kernel
def _row_range(screen: Any, n: int, height: int) -> Any:
    """First row and one past the last row a splat can touch."""
    low = screen[n, Y] - screen[n, HALF_HEIGHT] - 0.5 - _SLACK
    high = screen[n, Y] + screen[n, HALF_HEIGHT] - 0.5 + _SLACK
    first = math.ceil(min(max(low, 0.0), float(height)))
    return first, math.floor(min(max(high, -1.0), height - 1.0)) + 1


@kernel
def _block_range(screen: Any, n: int, dy: float, width: int) -> Any:
    """First block and one past the last block of a row that a splat can touch, `dy` pixels below its centre."""
    left = screen[n, CUTOFF] - screen[n, PRECISION_Y] * dy * dy
    reach = math.sqrt(max(left, 0.0) / screen[n, PRECISION_X]) * (1.0 + 1e-4) + _SLACK
    centre = screen[n, X] + screen[n, SLOPE] * dy - 0.5
    low, high = centre - reach, centre + reach
    if high < 0.0 or low > width - 1.0:
        return 0, 0
    return int(max(low, 0.0)) // LANES, int(min(high, width - 1.0)) // LANES + 1


@kernel
def new_coverage(screen: Any, width: int, height: int) -> Any:
    """Arrays for `cover`: block numbers, and of each block dy, level and distance of its first pixel."""
    # One more than the image has: `cover` writes two blocks a row before it looks how many there are.
    count = height * row_blocks(width) + 1
    return np.empty(count, np.int64), np.empty((count, 3), screen.dtype)


@kernel
def cover(screen: Any, n: int, width: int, height: int, cells: Any, rows: Any) -> int:
    """List the blocks that splat `n` can touch; return how many.

    Collecting them first keeps the hard-to-predict ends of rows away from the blending, which would wait for them.
    """
    real = screen.dtype.type
    blocks = row_blocks(width)
    count = 0
    first_row, last_row = _row_range(screen, n, height)
    for row in range(first_row, last_row):
        dy = real(row) + real(0.5) - screen[n, Y]
        level = screen[n, PEAK] - real(HALF_LOG2_E) * screen[n, PRECISION_Y] * dy * dy
        first, last = _block_range(screen, n, dy, width)
        distance = real(first * LANES) + real(0.5) - (screen[n, X] + screen[n, SLOPE] * dy)
        for index in range(max(2, last - first)):
            cells[count + index] = row * blocks + first + index
            rows[count + index, 0] = dy
            rows[count + index, 1] = level
            rows[count + index, 2] = distance + real(index * LANES)
        count += last - first
    return count
