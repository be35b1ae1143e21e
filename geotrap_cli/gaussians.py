"""The ``[B, N, 14]`` layout of a generated Gaussian cloud behind names, and the activations that lead to it.

Every module that touches Gaussians goes through :class:`GaussianBatch`; no channel number appears anywhere else.
The channel order and the activations are those of LGM (Tang et al. 2024, "LGM: Large Multi-View Gaussian Model").
"""

from __future__ import annotations

from dataclasses import dataclass

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
class GaussianBatch:
    """Gaussians of ``B`` objects, ``N`` each.

    Args:
        activated: ``[B, N, 14]`` values that a rasteriser takes: means and scales in world units, opacities and rgb
            in [0, 1], unit quaternions in wxyz order.
        raw: ``[B, N, 14]`` network output before activation, or None where it is not known (a PLY import).
    """

    activated: Tensor
    raw: Tensor | None = None

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
        return GaussianBatch(self.activated[chosen], None if self.raw is None else self.raw[chosen])

    def detach(self) -> GaussianBatch:
        """Return the same values outside the autograd graph."""
        return GaussianBatch(self.activated.detach(), None if self.raw is None else self.raw.detach())

    def to(self, *args: torch.device | torch.dtype | str, **kwargs: torch.device | torch.dtype | str) -> GaussianBatch:
        """Return the batch on another device or in another dtype; arguments as for ``Tensor.to``."""
        raw = None if self.raw is None else self.raw.to(*args, **kwargs)  # type: ignore[call-overload]
        return GaussianBatch(self.activated.to(*args, **kwargs), raw)  # type: ignore[call-overload]


def activate(raw: Tensor) -> GaussianBatch:
    """Turn the output head of a generator into Gaussians.

    means ``clamp(-1, 1)``, opacity ``sigmoid``, scale ``0.1 softplus``, rotation normalised over its own four
    numbers, rgb ``0.5 tanh + 0.5`` (LGM, section 3.2 and released code after its rotation fix). Half precision is
    raised to float32 first; float64 stays float64.

    Args:
        raw: ``[B, N, 14]`` pre-activation values.
    """
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    parts = (
        raw[..., CHANNELS["means"]].clamp(-1.0, 1.0),
        torch.sigmoid(raw[..., CHANNELS["opacities"]]),
        SCALE_FACTOR * F.softplus(raw[..., CHANNELS["scales"]]),
        F.normalize(raw[..., CHANNELS["quats"]], dim=-1),
        0.5 * torch.tanh(raw[..., CHANNELS["rgb"]]) + 0.5,
    )
    return GaussianBatch(torch.cat(parts, dim=-1), raw)
