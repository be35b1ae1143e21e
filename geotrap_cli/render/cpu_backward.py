"""CPU kernel that walks the blended splats back to front and gathers their screen-space gradients.

With D_i the dot product of the rgb gradient and the colour of splat i, T_i the transmittance before it and
S_i = sum of D_j alpha_j T_j over the splats behind it, minus the alpha gradient times the final transmittance, the
gradient to alpha_i is T_i D_i - S_i / (1 - alpha_i). T is restored by division, S is one running number a pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from geotrap_cli.render.base import MAX_ALPHA, MIN_ALPHA
from geotrap_cli.render.cpu_coverage import LANES, cover, curvature_of, new_coverage, raw_alpha, row_blocks
from geotrap_cli.render.cpu_jit import kernel, reducing_kernel
from geotrap_cli.render.cpu_projection import (
    GRAD_BLUE,
    GRAD_GREEN,
    GRAD_OPACITY,
    GRAD_PRECISION_X,
    GRAD_PRECISION_Y,
    GRAD_RED,
    GRAD_SLOPE,
    GRAD_X,
    GRAD_Y,
    PRECISION_X,
    PRECISION_Y,
    SLOPE,
)

TO_RED, TO_GREEN, TO_BLUE, TRANSMITTANCE, LAST, BEHIND = range(6)
"""Channels of the buffer: gradients to the pixel's rgb, then state. BEHIND is S."""
CHANNELS = 6
BLOCK = CHANNELS * LANES


@reducing_kernel
def _retreat_block(block: Any, first: float, curvature: float, level: float, color: Any, position: float) -> Any:
    """Step the eight pixels of a block back over one splat; the arguments are those of the forward kernel.

    Returns:
        Sums over the pixels of the gradient to sigma times 1, distance and distance squared, and of the gradients to
        red, green and blue.

    """
    real = block.dtype.type
    zero, one = real(0.0), real(1.0)
    least, most = real(MIN_ALPHA), real(MAX_ALPHA)
    red, green, blue = color
    sum_0, sum_1, sum_2, sum_red, sum_green, sum_blue = zero, zero, zero, zero, zero, zero
    for lane in range(LANES):
        distance = first + real(np.int32(lane))
        raw = raw_alpha(distance, curvature, level)
        alpha = raw if raw < most else most
        adds = (alpha >= least) & (position <= block[LAST * LANES + lane])
        alpha = alpha if adds else zero
        remaining = one / (one - alpha)
        before = block[TRANSMITTANCE * LANES + lane] * remaining
        to_red, to_green, to_blue = block[lane], block[TO_GREEN * LANES + lane], block[TO_BLUE * LANES + lane]
        behind = block[BEHIND * LANES + lane]
        weight = alpha * before
        along = to_red * red + to_green * green + to_blue * blue
        to_sigma = alpha * (behind * remaining - before * along)
        to_sigma = to_sigma if raw <= most else zero
        block[TRANSMITTANCE * LANES + lane] = before
        block[BEHIND * LANES + lane] = behind + weight * along
        sum_0 += to_sigma
        sum_1 += to_sigma * distance
        sum_2 += to_sigma * distance * distance
        sum_red += weight * to_red
        sum_green += weight * to_green
        sum_blue += weight * to_blue
    return sum_0, sum_1, sum_2, sum_red, sum_green, sum_blue


@kernel
def _furthest(pixels: Any, cells: int) -> Any:
    """Largest LAST of every block."""
    furthest = np.zeros(cells, np.int64)
    for cell in range(cells):
        for lane in range(LANES):
            furthest[cell] = max(furthest[cell], int(pixels[cell * BLOCK + LAST * LANES + lane]))
    return furthest


@kernel
def _add(screen: Any, n: int, dy: float, sums: Any, out: Any) -> None:
    """Turn the sums over a block into gradients of the splat.

    sigma = (precision_x e^2 + precision_y dy^2) / 2 with e = x - centre_x - slope dy, the distance in the row.
    """
    s0, s1, s2, red, green, blue = sums
    pull = screen[n, PRECISION_X] * s1
    out[GRAD_X] -= pull
    out[GRAD_Y] += screen[n, SLOPE] * pull - screen[n, PRECISION_Y] * dy * s0
    out[GRAD_SLOPE] -= pull * dy
    out[GRAD_PRECISION_X] += 0.5 * s2
    out[GRAD_PRECISION_Y] += 0.5 * dy * dy * s0
    out[GRAD_OPACITY] -= s0
    out[GRAD_RED] += red
    out[GRAD_GREEN] += green
    out[GRAD_BLUE] += blue


@kernel
def retreat(screen: Any, order: Any, rgb: Any, width: int, height: int, pixels: Any, gradients: Any) -> None:
    """Fill the screen-space gradients of one view's visible splats.

    `screen` is the view's table [N, 8], `order` the indices of its visible splats front to back, `rgb` [N, 3] their
    colours; `pixels` is a flat buffer of blocks of CHANNELS, whose state is used up. `gradients` [N, 9] is the output,
    zero at the start; its GRAD_OPACITY is that to the logarithm of the opacity.
    """
    real = screen.dtype.type
    cells, rows = new_coverage(screen, width, height)
    furthest = _furthest(pixels, height * row_blocks(width))
    for position in range(furthest.max(), 0, -1):
        n = order[position - 1]
        color = (rgb[n, 0], rgb[n, 1], rgb[n, 2])
        curvature = curvature_of(screen, n)
        out = gradients[n]
        for item in range(cover(screen, n, width, height, cells, rows)):
            cell = cells[item]
            if furthest[cell] < position:
                continue
            block = pixels[cell * BLOCK : (cell + 1) * BLOCK]
            sums = _retreat_block(block, rows[item, 2], curvature, rows[item, 1], color, real(position))
            _add(screen, n, rows[item, 0], sums, out)
