"""Rotation trap: make the Gaussians' axes parallel to a plane or a line."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.covariance import anisotropy_loss, second_moment
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.traps import Attribute, BaseTrap, TrapConfig


class RotationConfig(TrapConfig):
    """Options of the rotation trap."""

    mode: Literal["z_axis", "principal_axis"] = Field(
        "z_axis",
        description="z_axis: the rotated z axis; principal_axis: the axis along which the Gaussian is longest.",
    )
    epsilon: float = Field(1e-6, ge=1e-12, description="Added to both eigenvalues, which have no unit.")


class RotationTrap(BaseTrap[RotationConfig]):
    """``-log((λmax + ε) / (λmin + ε))`` of the mean of r rᵀ over Gaussians (idea: GaussLock, arXiv 2604.09688).

    r is the unit axis R(q)·e of each Gaussian. rrᵀ is the same for r and -r, and for q and -q. The choice of the
    longest axis is a constant of the loss: no gradient reaches the scales. Turning a sphere shows nothing, so the trap
    has a visual effect on elongated Gaussians only.
    """

    key = "rotation"
    summary = "align the axes of all Gaussians"
    Config = RotationConfig

    @property
    def upper_bound(self) -> float:
        """Zero, reached by axes spread evenly over all directions."""
        return 0.0

    @property
    def attribute(self) -> Attribute:
        """The unit quaternions, four numbers each."""
        return Attribute("quats")

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """Loss per object, float64 [B]."""
        rotations = rotation_matrices(batch.quats.double())
        if self.config.mode == "z_axis":
            axes = rotations[..., 2]
        else:
            longest = batch.scales.detach().argmax(dim=-1)[..., None, None].expand(-1, -1, 3, 1)
            axes = rotations.gather(-1, longest).squeeze(-1)
        return anisotropy_loss(second_moment(axes, weights, centred=False), self.config.epsilon)


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4] in the order w, x, y, z."""
    w, x, y, z = quats.unbind(dim=-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
