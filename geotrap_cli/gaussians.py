"""The ``[B, N, 14]`` layout of a generated Gaussian cloud behind names, and the activations that lead to it.

Every module that touches Gaussians goes through :class:`GaussianBatch`; no channel number appears anywhere else.
The channel order is that of LGM (Tang et al. 2024, "LGM: Large Multi-View Gaussian Model"); which functions activate
the channels is told by :class:`Activations`, LGM's where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.errors import GeotrapError

CHANNELS: dict[str, slice] = {
    "means": slice(0, 3),
    "opacities": slice(3, 4),
    "scales": slice(4, 7),
    "quats": slice(7, 11),
    "rgb": slice(11, 14),
}
"""Where each attribute lies in the last dimension, before and after activation."""

NUM_CHANNELS = 14
SCALE_FACTOR = 0.1
"""World units per unit of softplus: LGM's Gaussians start small against a scene of radius 1."""


@dataclass(frozen=True)
class Activations:
    """The function from each raw attribute to its value; opacities are always ``sigmoid``.

    Args:
        means: ``clamp`` to [-1, 1], or the ``identity``.
        scales: ``softplus`` times :data:`SCALE_FACTOR`, or ``exp``.
        quats: ``unit``: normalised over their own four numbers; ``across``: see :func:`quats_across`.
        rgb: ``tanh``: ``0.5 tanh + 0.5``, or ``clamp`` to [0, 1].
    """

    means: Literal["clamp", "identity"] = "clamp"
    scales: Literal["softplus", "exp"] = "softplus"
    quats: Literal["unit", "across"] = "unit"
    rgb: Literal["tanh", "clamp"] = "tanh"


LGM_ACTIVATIONS = Activations()
"""Of LGM's released code after its rotation fix (section 3.2 of the paper)."""


@dataclass(frozen=True)
class GaussianBatch:
    """Gaussians of ``B`` objects, ``N`` each.

    Args:
        activated: ``[B, N, 14]`` values that a rasteriser takes: means and scales in world units, opacities and rgb
            in [0, 1], unit quaternions in wxyz order.
        raw: ``[B, N, 14]`` network output before activation, or None where it is not known (a PLY import).
        activations: What leads from ``raw`` to ``activated``.
    """

    activated: Tensor
    raw: Tensor | None = None
    activations: Activations = LGM_ACTIVATIONS

    def __post_init__(self) -> None:
        for name, value in (("activated", self.activated), ("raw", self.raw)):
            if value is not None and (value.ndim != 3 or value.shape[-1] != NUM_CHANNELS):
                raise ValueError(f"{name} must be [B, N, {NUM_CHANNELS}], got {list(value.shape)}")
        if self.raw is not None and self.raw.shape != self.activated.shape:
            raise ValueError(f"raw {list(self.raw.shape)} and activated {list(self.activated.shape)} differ in shape")

    @property
    def means(self) -> Tensor:
        """Centres, ``[B, N, 3]``, world units."""
        return self.attribute("means")

    @property
    def opacities(self) -> Tensor:
        """Opacities in [0, 1], ``[B, N]``."""
        return self.attribute("opacities").squeeze(-1)

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the three axes, ``[B, N, 3]``, world units."""
        return self.attribute("scales")

    @property
    def quats(self) -> Tensor:
        """Rotations as unit quaternions wxyz, ``[B, N, 4]``."""
        return self.attribute("quats")

    @property
    def rgb(self) -> Tensor:
        """Colours in [0, 1], ``[B, N, 3]``."""
        return self.attribute("rgb")

    @property
    def num_gaussians(self) -> int:
        """Gaussians per object, ``N``."""
        return self.activated.shape[1]

    def attribute(self, name: str) -> Tensor:
        """Return one attribute of :data:`CHANNELS` as ``[B, N, C]``; opacities keep their last dimension of 1.

        Raises:
            KeyError: ``name`` is no attribute.
        """
        return self.activated[..., CHANNELS[name]]

    def require_raw(self) -> Tensor:
        """Return the pre-activation values ``[B, N, 14]``.

        Raises:
            GeotrapError: they are not known, as after a PLY import.
        """
        if self.raw is None:
            raise GeotrapError(
                "these Gaussians carry no pre-activation values",
                hint="Use Gaussians that come from a generator: a PLY file stores activated values only",
            )
        return self.raw

    def __len__(self) -> int:
        return self.activated.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> GaussianBatch:
        """Return the objects at ``index``; an integer gives a batch of one."""
        chosen = [index] if isinstance(index, int) else index
        raw = None if self.raw is None else self.raw[chosen]
        return replace(self, activated=self.activated[chosen], raw=raw)

    def detach(self) -> GaussianBatch:
        """Return the same values outside the autograd graph."""
        raw = None if self.raw is None else self.raw.detach()
        return replace(self, activated=self.activated.detach(), raw=raw)

    def to(self, *args: torch.device | torch.dtype | str, **kwargs: torch.device | torch.dtype | str) -> GaussianBatch:
        """Return the batch on another device or in another dtype; arguments as for ``Tensor.to``."""
        raw = None if self.raw is None else self.raw.to(*args, **kwargs)  # type: ignore[call-overload]
        return replace(self, activated=self.activated.to(*args, **kwargs), raw=raw)  # type: ignore[call-overload]


def activate(raw: Tensor, activations: Activations = LGM_ACTIVATIONS) -> GaussianBatch:
    """Turn the raw channels of a generator into Gaussians.

    Half precision is raised to float32 first; float64 stays float64. A generator knows its own functions: where there
    is one, call its ``activate``.

    Args:
        raw: ``[B, N, 14]`` pre-activation values.
        activations: The functions.
    """
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    means, opacities, scales, quats, rgb = (raw[..., channels] for channels in CHANNELS.values())
    parts = (
        means.clamp(-1.0, 1.0) if activations.means == "clamp" else means,
        torch.sigmoid(opacities),
        SCALE_FACTOR * F.softplus(scales) if activations.scales == "softplus" else scales.exp(),
        F.normalize(quats, dim=-1) if activations.quats == "unit" else quats_across(quats),
        0.5 * torch.tanh(rgb) + 0.5 if activations.rgb == "tanh" else rgb.clamp(0.0, 1.0),
    )
    return GaussianBatch(torch.cat(parts, dim=-1), raw, activations)


def quats_across(raw: Tensor) -> Tensor:
    """Unit quaternions ``[..., N, 4]`` of LGM's weights from before its rotation fix, from raw ones.

    Those weights were trained with each of the four components normalised over all N Gaussians, and with a rasteriser
    that puts such a quaternion (w, v), of length ~ N^(-1/2), into the formula of unit ones as it is. What comes out,
    ``I + 2 w [v]x + 2 [v]x²``, is no rotation but close to the identity; the nearest rotation, to the first order in
    1/N, is that of the quaternion (1, w v).
    """
    small = F.normalize(raw, dim=-2)
    turn = small[..., :1] * small[..., 1:]
    return F.normalize(torch.cat((torch.ones_like(small[..., :1]), turn), dim=-1), dim=-1)
