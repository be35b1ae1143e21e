"""CPU kernels from Gaussians to screen-space splats, and the gradients back.

A splat's screen covariance [[A, B], [B, C]] is kept as the distribution of y and that of x given y:
precision_y = 1/C, slope = B/C and precision_x = 1/(A - B^2/C). Then 2 sigma = precision_x e^2 + precision_y dy^2 with
e = dx - slope dy, which is never negative, and a row of pixels needs e alone.

All arithmetic is float64, as viewmats and Ks are passed in float64; the screen table has the type of the splats.
"""

from __future__ import annotations

import math
from typing import Any

from geotrap_cli.render.base import BLUR, FRUSTUM_MARGIN, MAX_VARIANCE, MIN_ALPHA
from geotrap_cli.render.cpu_jit import kernel

X, Y, SLOPE, PRECISION_X, PRECISION_Y, PEAK, CUTOFF, HALF_HEIGHT = range(8)
"""Columns of a screen table [N, 8]; PEAK is log2 of the opacity, CUTOFF the largest visible 2 sigma.

HALF_HEIGHT is in pixels.
"""
SCREEN_COLUMNS = 8
GRAD_X, GRAD_Y, GRAD_SLOPE, GRAD_PRECISION_X, GRAD_PRECISION_Y, GRAD_OPACITY, GRAD_RED, GRAD_GREEN, GRAD_BLUE = range(9)
"""Columns of a table of screen-space gradients [N, 9]."""
GRADIENT_COLUMNS = 9


@kernel
def rotation_of(quats: Any, n: int) -> Any:
    """Rotation matrix (row-major), unit quaternion and its former length; the length 0 marks a zero quaternion."""
    w, x, y, z = float(quats[n, 0]), float(quats[n, 1]), float(quats[n, 2]), float(quats[n, 3])
    length = math.sqrt(w * w + x * x + y * y + z * z)
    inverse = 1.0 / length if length > 0.0 else 0.0
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    matrix = (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )
    return matrix, (w, x, y, z), length


@kernel
def to_camera(means: Any, n: int, viewmat: Any) -> Any:
    """Camera-space centre of Gaussian `n`."""
    x, y, z = means[n, 0], means[n, 1], means[n, 2]
    return (
        viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3],
        viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3],
        viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3],
    )


@kernel
def _clamped_ratio(ratio: float, focal: float, centre: float, size: int) -> Any:
    """x/z for the Jacobian, clamped a margin outside the image, and whether it was left as it is."""
    margin = FRUSTUM_MARGIN * 0.5 * size / focal
    low, high = -centre / focal - margin, (size - centre) / focal + margin
    return min(high, max(low, ratio)), low <= ratio <= high


@kernel
def screen_axes(viewmat: Any, K: Any, x: float, y: float, z: float, width: int, height: int) -> Any:
    """Rows of J W (EWA splatting: Jacobian of the projection times the world-to-camera rotation), and the clamps."""
    ratio_x, free_x = _clamped_ratio(x / z, K[0, 0], K[0, 2], width)
    ratio_y, free_y = _clamped_ratio(y / z, K[1, 1], K[1, 2], height)
    scale_x, scale_y = K[0, 0] / z, K[1, 1] / z
    row_x = (
        scale_x * (viewmat[0, 0] - ratio_x * viewmat[2, 0]),
        scale_x * (viewmat[0, 1] - ratio_x * viewmat[2, 1]),
        scale_x * (viewmat[0, 2] - ratio_x * viewmat[2, 2]),
    )
    row_y = (
        scale_y * (viewmat[1, 0] - ratio_y * viewmat[2, 0]),
        scale_y * (viewmat[1, 1] - ratio_y * viewmat[2, 1]),
        scale_y * (viewmat[1, 2] - ratio_y * viewmat[2, 2]),
    )
    return row_x, row_y, (ratio_x, free_x), (ratio_y, free_y)


@kernel
def times(row: Any, matrix: Any) -> Any:
    """Row vector times a row-major 3x3 matrix."""
    a, b, c = row
    return (
        a * matrix[0] + b * matrix[3] + c * matrix[6],
        a * matrix[1] + b * matrix[4] + c * matrix[7],
        a * matrix[2] + b * matrix[5] + c * matrix[8],
    )


@kernel
def dot(a: Any, b: Any) -> float:
    """Inner product of two 3-tuples."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def scaled(row: Any, scales: Any, n: int) -> Any:
    """A 3-tuple times the scales of Gaussian `n`, element by element."""
    return row[0] * scales[n, 0], row[1] * scales[n, 1], row[2] * scales[n, 2]


@kernel
def screen_covariance(p: Any, q: Any) -> Any:
    """Entries xx, xy, yy of the blurred covariance with factor rows `p` and `q`, and the variance of x given y."""
    xx, xy, yy = dot(p, p) + BLUR, dot(p, q), dot(q, q) + BLUR
    # Lagrange's identity: the determinant of a thin, long splat would otherwise cancel.
    cross = (p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0])
    return xx, xy, yy, (dot(cross, cross) + BLUR * (xx - BLUR)) / yy + BLUR


@kernel
def project(
    means: Any,
    quats: Any,
    scales: Any,
    opacities: Any,
    viewmat: Any,
    K: Any,
    width: int,
    height: int,
    near: float,
    far: float,
    screen: Any,
    depths: Any,
) -> int:
    """Fill `screen` [N, 8] and `depths` [N] (infinite where culled) for one view; return how many splats are left."""
    visible = 0
    for n in range(means.shape[0]):
        depths[n] = math.inf
        opacity = float(opacities[n])
        x, y, z = to_camera(means, n, viewmat)
        if z < near or z > far or opacity < MIN_ALPHA:
            continue
        rotation, _, length = rotation_of(quats, n)
        axis_x, axis_y, _, _ = screen_axes(viewmat, K, x, y, z, width, height)
        p = scaled(times(axis_x, rotation), scales, n)
        q = scaled(times(axis_y, rotation), scales, n)
        cov_xx, cov_xy, cov_yy, variance_x = screen_covariance(p, q)
        if length == 0.0 or not max(cov_xx, cov_yy) <= MAX_VARIANCE:
            continue
        centre_x, centre_y = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        cutoff = 2.0 * math.log(opacity / MIN_ALPHA)
        half_width, half_height = math.sqrt(cutoff * cov_xx), math.sqrt(cutoff * cov_yy)
        if abs(centre_x - 0.5 * width) > half_width + 0.5 * width:
            continue
        if abs(centre_y - 0.5 * height) > half_height + 0.5 * height:
            continue
        screen[n, X], screen[n, Y] = centre_x, centre_y
        screen[n, SLOPE] = cov_xy / cov_yy
        screen[n, PRECISION_X], screen[n, PRECISION_Y] = 1.0 / variance_x, 1.0 / cov_yy
        screen[n, PEAK], screen[n, CUTOFF], screen[n, HALF_HEIGHT] = math.log2(opacity), cutoff, half_height
        depths[n] = z
        visible += 1
    return visible
