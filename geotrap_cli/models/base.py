"""What the rest of the program asks of a feed-forward Gaussian generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from geotrap_cli.gaussians import GaussianBatch


@runtime_checkable
class Generator(Protocol):
    """Posed images in, 3D Gaussians out; also an ``nn.Module``.

    Attributes:
        input_size: Height and width of the square input views, in pixels.
        num_views: Input views an object has.
        num_gaussians: Gaussians an object gets.
    """

    input_size: int
    num_views: int
    num_gaussians: int

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        """Generate one set of Gaussians per object.

        Args:
            images: ``[B, V, 9, H, W]``: normalised RGB (3) and Plücker rays, moment first (6), per view.
        """
        ...

    def activate(self, raw: Tensor) -> GaussianBatch:
        """Turn the raw output ``[B, N, 14]`` into Gaussians."""
        ...

    def units(self) -> dict[str, list[str]]:
        """Parameter names by unit, the grain at which layers are compared; each name exactly once."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Raw output ``[B, N, 14]``, before any activation."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As ``nn.Module.parameters``."""
        ...

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """As ``nn.Module.named_parameters``."""
        ...
