"""What every network shares that the program defends and attacks: a diffusers model that gives Gaussians."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from torch import Tensor, nn

from geotrap_cli.compat import ensure_torchvision

ensure_torchvision()  # diffusers' adapters import peft, which imports torchvision

from diffusers.configuration_utils import ConfigMixin  # noqa: E402
from diffusers.loaders import PeftAdapterMixin  # noqa: E402
from diffusers.models.modeling_utils import ModelMixin  # noqa: E402

from geotrap_cli.errors import GeotrapError, UsageError  # noqa: E402
from geotrap_cli.gaussians import LGM_ACTIVATIONS, Activations, GaussianBatch, activate  # noqa: E402
from geotrap_cli.models.family import load_family, preset_settings  # noqa: E402

INPUT_CHANNELS: Final = 9
"""Normalised RGB (3) and Plücker rays, moment first (6)."""

GAUSSIAN_CHANNELS: Final = 14
"""Mean (3), opacity (1), scale (3), quaternion wxyz (4), rgb (3)."""


@dataclass(frozen=True)
class UnitPlace:
    """Where a unit lies in the network.

    Attributes:
        part: Which third of a U-Net; None outside of all, as the input layer and the head are.
        block: Name of the stretch of one resolution that it belongs to; None outside of all.
        attention: Whether it is part of an attention.
    """

    part: Literal["down", "mid", "up"] | None = None
    block: str | None = None
    attention: bool = False


class GaussianGenerator(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """A network from posed images to Gaussians: what training, attacks and analysis ask of it beside ``nn.Module``.

    A subclass registers its constructor's arguments with diffusers' ``register_to_config``, sets the sizes, and writes
    ``forward`` (raw channels ``[B, N, 14]``), ``unit_of``, ``place`` and ``head_units``.

    Attributes:
        family: Key of its family in the group ``geotrap.models``.
        blocks: Classes of the modules that gradient checkpointing calls again instead of keeping what is inside.
        residual_writers: Last name components of the layers whose output is added to a residual stream.
        affine_head: Whether the raw channels are an affine map, the same for all Gaussians, of what enters the head.
        input_size: Height and width of the square input views, in pixels.
        splat_size: Height and width of the grid of Gaussians of a view.
        output_size: Height and width of the images it is trained to render, in pixels.
        num_views: Input views an object has.
        num_gaussians: Gaussians an object gets.
        fov_deg: Field of view of the cameras it was trained with, degrees, for images that come without cameras.
    """

    family: ClassVar[str]
    blocks: ClassVar[tuple[type[nn.Module], ...]]
    residual_writers: ClassVar[tuple[str, ...]]
    affine_head: ClassVar[bool] = False
    _supports_gradient_checkpointing = True

    input_size: int
    splat_size: int
    output_size: int
    num_views: int
    num_gaussians: int
    fov_deg: float

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> GaussianGenerator:
        """A model with the architecture of ``name`` and fresh weights; also under ``torch.device("meta")``.

        Raises:
            UsageError: For an unknown preset, or overrides that do not fit.
        """
        return cls(**preset_settings(load_family(cls.family), name, **overrides))

    @classmethod
    @abstractmethod
    def unit_of(cls, parameter: str) -> str:
        """The unit that a parameter, or one that an adapter added inside a module of the unit, belongs to.

        Raises:
            GeotrapError: When the name belongs to no unit.
        """

    @classmethod
    @abstractmethod
    def place(cls, unit: str) -> UnitPlace:
        """Where ``unit`` lies."""

    @property
    @abstractmethod
    def input_units(self) -> tuple[str, ...]:
        """The units that the images enter."""

    @property
    @abstractmethod
    def head_units(self) -> tuple[str, ...]:
        """The convolutions after the last nonlinearity, in order; each unit is one module."""

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """Names of the modules whose outputs are the features ``[B·V, C, H, W]`` of each resolution, in order.

        There is one a resolution on the way down and up, and ``bottleneck`` between them. One that puts out more than
        one tensor has the features first.
        """

    @property
    @abstractmethod
    def bottleneck(self) -> str:
        """Name of the module whose output is the features ``[B·V, C, H, W]`` between the way down and the way up."""

    @property
    def activations(self) -> Activations:
        """The functions from raw channels to Gaussians."""
        return LGM_ACTIVATIONS

    def activate(self, raw: Tensor) -> GaussianBatch:
        """Gaussians out of raw channels ``[B, N, 14]``."""
        return activate(raw, self.activations)

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        """Gaussians of each object, with their raw channels; arguments as in ``forward``."""
        return self.activate(self(images))

    def units(self) -> dict[str, list[str]]:
        """Parameter names by unit, the grain at which layers are compared; in state-dict order, each name once."""
        return group_by_unit(type(self), (name for name, _ in self.named_parameters()))

    def adapter_layers(self) -> dict[str, list[str]]:
        """Names of the linear and convolution layers but the 1x1 that ends the head, as ``attention`` and ``conv``."""
        left_out = self.head_units[1:]
        layers = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d) and name not in left_out
        ]
        attending = [name for name in layers if self.place(self.unit_of(f"{name}.weight")).attention]
        return {"attention": attending, "conv": [name for name in layers if name not in attending]}

    def fuse_head(self) -> GaussianGenerator:
        """Fold what of the head can be folded, in place, and return the model.

        Raises:
            UsageError: The family has no head that can be folded.
        """
        raise UsageError(f"The head of {self.family} cannot be fused", hint="Leave model.fuse_head out.")

    def check_images(self, images: Tensor) -> None:
        """Check the shape of what ``forward`` is given.

        Raises:
            GeotrapError: When the images have another shape.
        """
        expected = (self.num_views, INPUT_CHANNELS, self.input_size, self.input_size)
        if images.ndim != 5 or images.shape[1:] != expected:
            raise GeotrapError(
                f"{type(self).__name__} takes images of shape [B, {', '.join(map(str, expected))}], "
                f"not {list(images.shape)}",
                hint="The channels are normalised RGB and Plücker rays.",
            )


def group_by_unit(network: type[GaussianGenerator], parameters: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names by unit of ``network``, both in the order given.

    Raises:
        GeotrapError: When a name belongs to no unit.
    """
    units: dict[str, list[str]] = {}
    for name in parameters:
        units.setdefault(network.unit_of(name), []).append(name)
    return units
