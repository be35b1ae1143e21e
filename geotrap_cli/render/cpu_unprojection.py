"""CPU kernel that carries screen-space gradients back to the Gaussians, summed over views in a fixed order."""

from __future__ import annotations

import math
from typing import Any

from geotrap_cli.render.cpu_jit import kernel
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
    rotation_of,
    scaled,
    screen_axes,
    screen_covariance,
    times,
    to_camera,
)


@kernel
def _covariance_gradient(gradient: Any, cov_xy: float, cov_yy: float, variance_x: float) -> Any:
    """Gradient to the screen covariance (xx, xy, yy) from that to slope and the two precisions."""
    slope = cov_xy / cov_yy
    to_variance_x = -gradient[GRAD_PRECISION_X] / (variance_x * variance_x)
    to_slope = gradient[GRAD_SLOPE] / cov_yy
    to_yy = to_variance_x * slope * slope - to_slope * slope - gradient[GRAD_PRECISION_Y] / (cov_yy * cov_yy)
    return to_variance_x, to_slope - 2.0 * to_variance_x * slope, to_yy


@kernel
def _unit_quat_gradient(quat: Any, g: Any) -> Any:
    """Gradient to the unit quaternion, given that to the row-major rotation matrix."""
    w, x, y, z = quat
    return (
        2.0 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1])),
        2.0 * (y * (g[1] + g[3]) + z * (g[2] + g[6]) + w * (g[7] - g[5]) - 2.0 * x * (g[4] + g[8])),
        2.0 * (x * (g[1] + g[3]) + z * (g[5] + g[7]) + w * (g[2] - g[6]) - 2.0 * y * (g[0] + g[8])),
        2.0 * (x * (g[2] + g[6]) + y * (g[5] + g[7]) + w * (g[3] - g[1]) - 2.0 * z * (g[0] + g[4])),
    )


@kernel
def _quat_gradient(quat: Any, length: float, matrix_gradient: Any) -> Any:
    """Gradient to a quaternion before its normalisation to `quat`."""
    g = _unit_quat_gradient(quat, matrix_gradient)
    along = g[0] * quat[0] + g[1] * quat[1] + g[2] * quat[2] + g[3] * quat[3]
    return (
        (g[0] - along * quat[0]) / length,
        (g[1] - along * quat[1]) / length,
        (g[2] - along * quat[2]) / length,
        (g[3] - along * quat[3]) / length,
    )


@kernel
def _matrix_gradient(axis_x: Any, to_row_x: Any, axis_y: Any, to_row_y: Any) -> Any:
    """Gradient to the row-major rotation R from those to axis_x R and axis_y R."""
    a, b = axis_x, axis_y
    u, v = to_row_x, to_row_y
    return (
        a[0] * u[0] + b[0] * v[0],
        a[0] * u[1] + b[0] * v[1],
        a[0] * u[2] + b[0] * v[2],
        a[1] * u[0] + b[1] * v[0],
        a[1] * u[1] + b[1] * v[1],
        a[1] * u[2] + b[1] * v[2],
        a[2] * u[0] + b[2] * v[0],
        a[2] * u[1] + b[2] * v[1],
        a[2] * u[2] + b[2] * v[2],
    )


@kernel
def _transposed_times(matrix: Any, column: Any) -> Any:
    """Row-major 3x3 matrix times a column vector."""
    a, b, c = column
    return (
        matrix[0] * a + matrix[1] * b + matrix[2] * c,
        matrix[3] * a + matrix[4] * b + matrix[5] * c,
        matrix[6] * a + matrix[7] * b + matrix[8] * c,
    )


@kernel
def _camera_gradient(
    to_axis: Any, viewmat: Any, row: int, clamp: Any, focal: float, x: float, z: float, to_u: float
) -> Any:
    """Gradients to the camera-space x (or y) and z of one image axis.

    The axis is `f/z (W_row - ratio W_2)` with the clamped ratio, and the image coordinate is `f x/z + c`.
    """
    ratio, free = clamp
    scale = focal / z
    to_scale, to_ratio = to_u * x, 0.0
    for i in range(3):
        to_scale += to_axis[i] * (viewmat[row, i] - ratio * viewmat[2, i])
        to_ratio -= to_axis[i] * scale * viewmat[2, i]
    if not free:
        to_ratio = 0.0
    return to_u * scale + to_ratio / z, -(to_scale * scale + to_ratio * ratio) / z


@kernel
def _mix(a: float, row: Any, b: float, other: Any) -> Any:
    return a * row[0] + b * other[0], a * row[1] + b * other[1], a * row[2] + b * other[2]


@kernel
def _add(out: Any, n: int, values: Any) -> None:
    for i in range(len(values)):
        out[n, i] += values[i]


@kernel
def _unproject_one(
    means: Any, quats: Any, scales: Any, n: int, viewmat: Any, K: Any, size: Any, g: Any, outputs: Any
) -> None:
    """Add the gradients that Gaussian `n` gets from one view, whose screen-space gradients are `g`."""
    to_means, to_quats, to_scales = outputs
    x, y, z = to_camera(means, n, viewmat)
    rotation, quat, length = rotation_of(quats, n)
    axis_x, axis_y, clamp_x, clamp_y = screen_axes(viewmat, K, x, y, z, size[0], size[1])
    row_x, row_y = times(axis_x, rotation), times(axis_y, rotation)
    p, q = scaled(row_x, scales, n), scaled(row_y, scales, n)
    _, cov_xy, cov_yy, variance_x = screen_covariance(p, q)
    to_xx, to_xy, to_yy = _covariance_gradient(g, cov_xy, cov_yy, variance_x)
    to_p, to_q = _mix(2.0 * to_xx, p, to_xy, q), _mix(to_xy, p, 2.0 * to_yy, q)
    to_row_x, to_row_y = scaled(to_p, scales, n), scaled(to_q, scales, n)
    _add(
        to_scales,
        n,
        (
            to_p[0] * row_x[0] + to_q[0] * row_y[0],
            to_p[1] * row_x[1] + to_q[1] * row_y[1],
            to_p[2] * row_x[2] + to_q[2] * row_y[2],
        ),
    )
    _add(to_quats, n, _quat_gradient(quat, length, _matrix_gradient(axis_x, to_row_x, axis_y, to_row_y)))
    to_axis_x, to_axis_y = _transposed_times(rotation, to_row_x), _transposed_times(rotation, to_row_y)
    to_x, to_z = _camera_gradient(to_axis_x, viewmat, 0, clamp_x, K[0, 0], x, z, g[GRAD_X])
    to_y, also_z = _camera_gradient(to_axis_y, viewmat, 1, clamp_y, K[1, 1], y, z, g[GRAD_Y])
    camera = (to_x, to_y, to_z + also_z)
    _add(
        to_means,
        n,
        (
            viewmat[0, 0] * camera[0] + viewmat[1, 0] * camera[1] + viewmat[2, 0] * camera[2],
            viewmat[0, 1] * camera[0] + viewmat[1, 1] * camera[1] + viewmat[2, 1] * camera[2],
            viewmat[0, 2] * camera[0] + viewmat[1, 2] * camera[1] + viewmat[2, 2] * camera[2],
        ),
    )


@kernel
def unproject(
    means: Any,
    quats: Any,
    scales: Any,
    opacities: Any,
    viewmats: Any,
    Ks: Any,
    width: int,
    height: int,
    depths: Any,
    gradients: Any,
    start: int,
    stop: int,
    to_means: Any,
    to_quats: Any,
    to_scales: Any,
    to_opacities: Any,
    to_rgb: Any,
) -> None:
    """Add to the five gradient tables, zero at the start, for Gaussians start..stop of one object.

    `viewmats` [V, 4, 4] and `Ks` [V, 3, 3] are float64. `depths` [V, N] is infinite where a splat was culled, and its
    row of the screen-space `gradients` [V, N, 9] is not read.
    """
    size = (width, height)
    for n in range(start, stop):
        for view in range(depths.shape[0]):
            if depths[view, n] == math.inf:
                continue
            g = gradients[view, n]
            _unproject_one(means, quats, scales, n, viewmats[view], Ks[view], size, g, (to_means, to_quats, to_scales))
            to_opacities[n] += g[GRAD_OPACITY] / opacities[n]
            to_rgb[n, 0] += g[GRAD_RED]
            to_rgb[n, 1] += g[GRAD_GREEN]
            to_rgb[n, 2] += g[GRAD_BLUE]
