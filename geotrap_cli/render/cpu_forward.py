"""CPU kernel that blends depth-sorted splats front to back.

An image is a flat buffer of blocks of eight neighbouring pixels of a row, each with CHANNELS runs of LANES values:
constant offsets inside a block let the compiler turn the loop over its pixels into vector instructions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from geotrap_cli.render.base import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from geotrap_cli.render.cpu_jit import exponential, kernel
from geotrap_cli.render.cpu_projection import (
    CUTOFF,
    HALF_HEIGHT,
    OPACITY,
    PRECISION_X,
    PRECISION_Y,
    SLOPE,
    X,
    Y,
)

LANES = 8
RED, GREEN, BLUE, TRANSMITTANCE, LAST = range(5)
CHANNELS = 5
"""TRANSMITTANCE is negated where a pixel has stopped; LAST is the position of its last splat, counted from 1."""
BLOCK = CHANNELS * LANES
# Rounding in the row interval must not lose a pixel; each pixel's own alpha decides in the end.
_SLACK = 0.02


@kernel
def row_range(screen: Any, n: int, height: int) -> Any:
    """First row and one past the last row a splat can touch."""
    low = screen[n, Y] - screen[n, HALF_HEIGHT] - 0.5 - _SLACK
    high = screen[n, Y] + screen[n, HALF_HEIGHT] - 0.5 + _SLACK
    first = math.ceil(min(max(low, 0.0), float(height)))
    return first, math.floor(min(max(high, -1.0), height - 1.0)) + 1


@kernel
def block_range(screen: Any, n: int, dy: float, width: int) -> Any:
    """First block and one past the last block of a row that a splat can touch, `dy` pixels below its centre."""
    left = screen[n, CUTOFF] - screen[n, PRECISION_Y] * dy * dy
    reach = math.sqrt(max(left, 0.0) / screen[n, PRECISION_X]) * (1.0 + 1e-4) + _SLACK
    centre = screen[n, X] + screen[n, SLOPE] * dy - 0.5
    low, high = centre - reach, centre + reach
    if high < 0.0 or low > width - 1.0:
        return 0, 0
    return int(max(low, 0.0)) // LANES, int(min(high, width - 1.0)) // LANES + 1


@kernel
def raw_alpha(distance: float, half_precision: float, offset: float, opacity: float) -> float:
    """Alpha before the cap, `distance` pixels from the splat's centre in a row whose own share of sigma is `offset`."""
    return opacity * exponential(-(half_precision * distance * distance + offset))


@kernel
def clear(pixels: Any, width: int, height: int) -> None:
    """Make every pixel empty; lanes right of the image count as stopped."""
    blocks = (width + LANES - 1) // LANES
    for row in range(height):
        for column in range(blocks * LANES):
            start = (row * blocks + column // LANES) * BLOCK + column % LANES
            for channel in range(CHANNELS):
                pixels[start + channel * LANES] = 0.0
            pixels[start + TRANSMITTANCE * LANES] = 1.0 if column < width else -1.0


@kernel
def _blend_block(
    block: Any, e: float, half_precision: float, offset: float, opacity: float, color: Any, position: float
) -> int:
    """Add one splat to the eight pixels of a block; return how many of them stopped.

    `e` is the first pixel's distance from the splat's centre in this row and `offset` the row's share of sigma.
    """
    real = block.dtype.type
    zero, one = real(0.0), real(1.0)
    least, most, floor = real(MIN_ALPHA), real(MAX_ALPHA), real(MIN_TRANSMITTANCE)
    red, green, blue = color
    stopped = np.int32(0)
    for lane in range(LANES):
        distance = e + real(np.int32(lane))
        alpha = raw_alpha(distance, half_precision, offset, opacity)
        alpha = alpha if alpha < most else most
        before = block[TRANSMITTANCE * LANES + lane]
        after = before * (one - alpha)
        seen = (alpha >= least) & (before > zero)
        adds = seen & (after > floor)
        weight = alpha * before if adds else zero
        block[RED * LANES + lane] += weight * red
        block[GREEN * LANES + lane] += weight * green
        block[BLUE * LANES + lane] += weight * blue
        kept = -before if seen else before
        block[TRANSMITTANCE * LANES + lane] = after if adds else kept
        last = block[LAST * LANES + lane]
        block[LAST * LANES + lane] = position if adds else last
        stopped += np.int32(1) if seen & (after <= floor) else np.int32(0)
    return stopped


@kernel
def blend(screen: Any, order: Any, rgb: Any, width: int, height: int, pixels: Any) -> None:
    """Blend the splats of one view into `pixels`.

    `screen` is the view's table [N, 8], `order` the indices of its visible splats front to back, `rgb` [N, 3] their
    colours; `pixels` is the output, a flat buffer as described above.
    """
    real = screen.dtype.type
    clear(pixels, width, height)
    blocks = (width + LANES - 1) // LANES
    running = np.full(height * blocks, LANES, np.int32)
    if width % LANES:
        running[blocks - 1 :: blocks] = width % LANES
    total = width * height
    for position in range(order.shape[0]):
        n = order[position]
        color = (rgb[n, 0], rgb[n, 1], rgb[n, 2])
        half_precision = real(0.5) * screen[n, PRECISION_X]
        first_row, last_row = row_range(screen, n, height)
        for row in range(first_row, last_row):
            dy = real(row) + real(0.5) - screen[n, Y]
            offset = real(0.5) * screen[n, PRECISION_Y] * dy * dy
            centre = screen[n, X] + screen[n, SLOPE] * dy
            first, last = block_range(screen, n, dy, width)
            for index in range(first, last):
                cell = row * blocks + index
                if running[cell] == 0:
                    continue
                e = real(index * LANES) + real(0.5) - centre
                block = pixels[cell * BLOCK : (cell + 1) * BLOCK]
                stopped = _blend_block(block, e, half_precision, offset, screen[n, OPACITY], color, real(position + 1))
                running[cell] -= stopped
                total -= stopped
        if total == 0:
            break
