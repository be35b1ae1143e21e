"""Splatter Image as a diffusers model: one posed view in, one Gaussian a pixel out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from geotrap_cli.data.batch import IMAGENET_MEAN, IMAGENET_STD
from geotrap_cli.gaussians import Activations
from geotrap_cli.models.generator import (
    GaussianGenerator,
    ModelMixin,  # noqa: F401  # diffusers looks for it beside a component
    UnitPlace,
)
from geotrap_cli.models.splatter_image.architecture import Architecture
from geotrap_cli.models.splatter_image.head import make_head, raw_gaussians
from geotrap_cli.models.splatter_image.unet import ResidualBlock, SongUNet
from geotrap_cli.models.splatter_image.units import ENCODER, OUT, place_of, unit_of


class Predictor(nn.Module):
    """The U-Net and the head behind it, under their published names."""

    def __init__(self, unet: SongUNet, head: nn.Conv2d) -> None:
        super().__init__()
        self.encoder, self.out = unet, head

    def forward(self, rgb: Tensor) -> Tensor:
        """Map colours ``[B, 3, S, S]`` in [0, 1] to the head's channels ``[B, C, S, S]``."""
        return self.out(self.encoder(rgb))


class SplatterImage(GaussianGenerator):
    """Splatter Image (Szymanowicz et al., CVPR 2024): the Gaussian of a pixel lies along its ray, plus an offset.

    The constructor takes the fields of ``geotrap_cli.models.splatter_image.architecture.Architecture``; parameter names
    are those of the published weights. Fresh weights come from the global generator: seed it before.

    Raises:
        UsageError: When the arguments contradict one another.
    """

    family: ClassVar[str] = "splatter_image"
    blocks: ClassVar[tuple[type[nn.Module], ...]] = (ResidualBlock,)
    residual_writers: ClassVar[tuple[str, ...]] = ("conv1", "proj")

    @register_to_config
    def __init__(
        self,
        base_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        num_blocks: int = 4,
        attention_resolutions: Sequence[int] = (16,),
        input_size: int = 128,
        output_size: int = 128,
        sh_degree: int = 1,
        znear: float = 0.8,
        zfar: float = 3.2,
        camera_radius: float = 2.0,
        fov_deg: float = 49.134342641202636,
    ) -> None:
        super().__init__()
        self.arch = Architecture.parse(
            {
                "base_channels": base_channels,
                "channel_mult": list(channel_mult),
                "num_blocks": num_blocks,
                "attention_resolutions": list(attention_resolutions),
                "input_size": input_size,
                "output_size": output_size,
                "sh_degree": sh_degree,
                "znear": znear,
                "zfar": zfar,
                "camera_radius": camera_radius,
                "fov_deg": fov_deg,
            }
        )
        self.input_size = self.splat_size = self.arch.input_size
        self.output_size, self.num_views = self.arch.output_size, 1
        self.num_gaussians, self.fov_deg = self.splat_size**2, self.arch.fov_deg
        head = make_head(sh_degree)
        self.network_with_offset = Predictor(SongUNet(self.arch, len(IMAGENET_MEAN), head.out_channels), head)

    def forward(self, images: Tensor) -> Tensor:
        """Raw Gaussian channels ``[B, N, 14]`` in row-major order of the pixels; see ``raw_gaussians``.

        Args:
            images: ``[B, 1, 9, H, W]``: normalised RGB (3) and Plücker rays, moment first (6), of a view at rest.

        Raises:
            GeotrapError: When the images have another shape.
        """
        self.check_images(images)
        view = images[:, 0]
        return raw_gaussians(self.network_with_offset(_colours(view)), view, self.arch)

    @property
    def activations(self) -> Activations:
        """Scales are exponentials, positions and colours are what they are, colours clamped as renderers do."""
        return Activations(means="identity", scales="exp", rgb="clamp")

    @classmethod
    def unit_of(cls, parameter: str) -> str:
        """The unit of a parameter; see ``geotrap_cli.models.splatter_image.units``."""
        return unit_of(parameter)

    @classmethod
    def place(cls, unit: str) -> UnitPlace:
        """The side and resolution of the U-Net that a unit lies in."""
        return place_of(unit)

    @property
    def input_units(self) -> tuple[str, ...]:
        """The first convolution."""
        return (f"{ENCODER}.enc.{self.input_size}x{self.input_size}_conv",)

    @property
    def head_units(self) -> tuple[str, ...]:
        """The 3x3 convolution that ends the U-Net and the 1x1 behind it."""
        return (f"{ENCODER}.dec.{self.input_size}x{self.input_size}_aux_conv", OUT)

    @property
    def stages(self) -> tuple[str, ...]:
        """The last residual block of each resolution and side, and the bottleneck."""
        blocks = [name for name, module in self.named_modules() if isinstance(module, ResidualBlock)]
        return tuple({self.place(name).block: name for name in blocks}.values())

    @property
    def bottleneck(self) -> str:
        """The second of the blocks at the lowest resolution with which the way up begins."""
        side = self.arch.resolutions[-1]
        return f"{ENCODER}.dec.{side}x{side}_in1"


def _colours(view: Tensor) -> Tensor:
    """Colours in [0, 1] out of a network input ``[B, 9, S, S]``, whose colours are normalised as LGM's are."""
    mean, std = (view.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return view[:, : len(IMAGENET_MEAN)] * std + mean
