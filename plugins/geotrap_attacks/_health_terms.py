"""How healthy a cloud of Gaussians is, as levels that traps lower, and the loss for falling short of a reference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geotrap_cli.covariance import anisotropy_loss, second_moment
from geotrap_cli.gaussians import CHANNELS, GaussianBatch

EPSILON = 1e-6
"""Smallest variance (squared world units, squared raw colour) and smallest scale (world units) that count."""


def health_levels(batch: GaussianBatch) -> dict[str, Tensor]:
    """Levels per object, float64 [B] each; more is healthier, and each kind of trap lowers one of them.

    Levels read pre-activations wherever an activation can be flat, so that their gradients reach what rendering losses
    do not.

    Returns:
        ``spread``: log determinant of the covariance of the raw means, low for a plane, a line and a point.
        ``inside``: minus the mean distance of raw means to the cube [-1, 1]³, per axis.
        ``opacity``: mean opacity logit.
        ``roundness``: mean log ratio of shortest to longest axis.
        ``size``: mean log scale.
        ``diversity``: evenness of the directions of the Gaussians' z axes; 0 when even, negative when parallel.
        ``color``: log determinant of the covariance of the raw colours.
    """
    raw = batch.require_raw().double()
    means, scales = raw[..., CHANNELS["means"]], batch.scales.double() + EPSILON
    return {
        "spread": _log_volume(means),
        "inside": -torch.relu(means.abs() - 1).mean(dim=(1, 2)),
        "opacity": raw[..., CHANNELS["opacities"]].mean(dim=(1, 2)),
        "roundness": (scales.amin(dim=-1).log() - scales.amax(dim=-1).log()).mean(dim=1),
        "size": scales.log().mean(dim=(1, 2)),
        "diversity": anisotropy_loss(second_moment(z_axes(batch.quats.double()), centred=False), EPSILON),
        "color": _log_volume(raw[..., CHANNELS["rgb"]]),
    }


def shortfalls(batch: GaussianBatch, reference: Mapping[str, float]) -> dict[str, Tensor]:
    """Mean over objects of ``max(0, reference - level)``, a scalar for each level of ``reference``; zero if healthy."""
    levels = health_levels(batch)
    return {name: torch.relu(level - levels[name]).mean() for name, level in reference.items()}


def z_axes(quats: Tensor) -> Tensor:
    """R(q)·e_z [..., 3] of unit quaternions [..., 4] in the order w, x, y, z."""
    w, x, y, z = quats.unbind(dim=-1)
    return torch.stack((2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)), dim=-1)


def _log_volume(vectors: Tensor) -> Tensor:
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return torch.logdet(second_moment(vectors) + EPSILON * identity)
