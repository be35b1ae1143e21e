"""CPU kernel that blends depth-sorted splats front to back."""

from __future__ import annotations

from typing import Any

import numpy as np

from geotrap_cli.render.base import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from geotrap_cli.render.cpu_coverage import LANES, cover, curvature_of, new_coverage, raw_alpha, row_blocks
from geotrap_cli.render.cpu_jit import kernel

RED, GREEN, BLUE, TRANSMITTANCE, LAST = range(5)
CHANNELS = 5
"""TRANSMITTANCE is negated where a pixel has stopped; LAST is the position of its last splat, counted from 1."""
BLOCK = CHANNELS * LANES


@kernel
def _clear(pixels: Any, width: int, height: int) -> None:
    """Make every pixel empty; lanes right of the image count as stopped."""
    blocks = row_blocks(width)
    pixels[:] = 0.0
    for row in range(height):
        for column in range(blocks * LANES):
            cell = row * blocks + column // LANES
            lane = column % LANES
            pixels[cell * BLOCK + TRANSMITTANCE * LANES + lane] = 1.0 if column < width else -1.0


@kernel
def _blend_block(block: Any, first: float, curvature: float, level: float, color: Any, position: float) -> int:
    """Add one splat to the eight pixels of a block; return how many of them stopped.

    `first` is the first pixel's distance from the splat's centre in this row, `level` the row's largest log2 alpha.
    """
    real = block.dtype.type
    zero, one = real(0.0), real(1.0)
    least, most, floor = real(MIN_ALPHA), real(MAX_ALPHA), real(MIN_TRANSMITTANCE)
    red, green, blue = color
    stopped = np.int32(0)
    for lane in range(LANES):
        alpha = raw_alpha(first + real(np.int32(lane)), curvature, level)
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
        # numba adds two int32 to an int64, which would halve the pixels an instruction takes.
        stopped = np.int32(stopped + np.int32(seen & (after <= floor)))
    return int(stopped)


@kernel
def blend(screen: Any, order: Any, rgb: Any, width: int, height: int, pixels: Any) -> None:
    """Blend the splats of one view into `pixels`.

    `screen` is the view's table [N, 8], `order` the indices of its visible splats front to back, `rgb` [N, 3] their
    colours; `pixels` is the output, a flat buffer of blocks of CHANNELS.
    """
    real = screen.dtype.type
    _clear(pixels, width, height)
    cells, rows = new_coverage(screen, width, height)
    blocks = row_blocks(width)
    running = np.full(height * blocks, LANES, np.int64)
    running[blocks - 1 :: blocks] = width - (blocks - 1) * LANES
    left = width * height
    for position in range(order.shape[0]):
        n = order[position]
        color = (rgb[n, 0], rgb[n, 1], rgb[n, 2])
        curvature = curvature_of(screen, n)
        for item in range(cover(screen, n, width, height, cells, rows)):
            cell = cells[item]
            if running[cell] == 0:
                continue
            block = pixels[cell * BLOCK : (cell + 1) * BLOCK]
            stopped = _blend_block(block, rows[item, 2], curvature, rows[item, 1], color, real(position + 1))
            running[cell] -= stopped
            left -= stopped
        if left == 0:
            break
