"""LGM as a diffusers model: four posed views in, Gaussians out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from geotrap_cli.cameras import LGM_FOV_Y_DEG
from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import Activations
from geotrap_cli.models.generator import (
    GAUSSIAN_CHANNELS,
    INPUT_CHANNELS,
    GaussianGenerator,
    ModelMixin,  # noqa: F401  # diffusers looks for it beside a component
    UnitPlace,
)
from geotrap_cli.models.lgm.architecture import Architecture
from geotrap_cli.models.lgm.attention import MVAttention
from geotrap_cli.models.lgm.fusion import fold_into
from geotrap_cli.models.lgm.presets import preset
from geotrap_cli.models.lgm.unet import ResnetBlock, UNet
from geotrap_cli.models.lgm.units import place_of, unit_of


class LGM(GaussianGenerator):
    """Large multi-view Gaussian model (Tang et al., ECCV 2024): one Gaussian per view and cell of a feature map.

    The constructor takes the fields of ``geotrap_cli.models.lgm.architecture.Architecture``; parameter names are
    those of the released weights. Fresh weights are PyTorch's defaults, from the global generator: seed it before.

    Raises:
        UsageError: When the arguments contradict one another.
    """

    family: ClassVar[str] = "lgm"
    blocks: ClassVar[tuple[type[nn.Module], ...]] = (ResnetBlock, MVAttention)
    residual_writers: ClassVar[tuple[str, ...]] = ("conv2", "proj")
    affine_head: ClassVar[bool] = True

    @register_to_config
    def __init__(
        self,
        down_channels: Sequence[int] = (64, 128, 256, 512, 1024, 1024),
        down_attention: Sequence[bool] = (False, False, False, True, True, True),
        mid_attention: bool = True,
        up_channels: Sequence[int] = (1024, 1024, 512, 256, 128),
        up_attention: Sequence[bool] = (True, True, True, False, False),
        norm_groups: int = 32,
        num_heads: int = 16,
        input_size: int = 256,
        splat_size: int = 128,
        output_size: int = 512,
        num_views: int = 4,
        fused_head: bool = False,
        old_rotation: bool = False,
    ) -> None:
        super().__init__()
        arch = Architecture.parse(
            {
                "down_channels": list(down_channels),
                "down_attention": list(down_attention),
                "mid_attention": mid_attention,
                "up_channels": list(up_channels),
                "up_attention": list(up_attention),
                "norm_groups": norm_groups,
                "num_heads": num_heads,
                "input_size": input_size,
                "splat_size": splat_size,
                "output_size": output_size,
                "num_views": num_views,
                "fused_head": fused_head,
                "old_rotation": old_rotation,
            }
        )
        self.input_size = arch.input_size
        self.splat_size = arch.splat_size
        self.output_size = arch.output_size
        self.num_views = arch.num_views
        self.fov_deg = LGM_FOV_Y_DEG
        self.old_rotation = arch.old_rotation
        self.num_gaussians = arch.num_views * arch.splat_size**2
        self.unet = UNet(arch, INPUT_CHANNELS, GAUSSIAN_CHANNELS)
        self.conv: nn.Module = (
            nn.Identity() if arch.fused_head else nn.Conv2d(GAUSSIAN_CHANNELS, GAUSSIAN_CHANNELS, kernel_size=1)
        )

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> LGM:
        """A model with the architecture of ``name`` and fresh weights; also under ``torch.device("meta")``.

        Raises:
            UsageError: For an unknown preset, or overrides that do not fit.
        """
        return cls(**preset(name, **overrides).asdict())

    def forward(self, images: Tensor) -> Tensor:
        """Raw Gaussian channels ``[B, N, 14]`` in (view, row, column) order, before any activation.

        Args:
            images: ``[B, V, 9, H, W]``: normalised RGB (3) and Plücker rays, moment first (6), per view.

        Raises:
            GeotrapError: When the images have another shape.
        """
        self.check_images(images)
        features = self.conv(self.unet(images.flatten(0, 1)))
        return features.unflatten(0, (-1, self.num_views)).permute(0, 1, 3, 4, 2).flatten(1, 3)

    @property
    def activations(self) -> Activations:
        """Those of the paper, with quaternions as the weights were trained."""
        return Activations(quats="across" if self.old_rotation else "unit")

    @classmethod
    def unit_of(cls, parameter: str) -> str:
        """The unit of a parameter; see ``geotrap_cli.models.lgm.units``."""
        return unit_of(parameter)

    @classmethod
    def place(cls, unit: str) -> UnitPlace:
        """The block of the U-Net that a unit lies in."""
        return place_of(unit)

    @property
    def input_units(self) -> tuple[str, ...]:
        """The first convolution."""
        return ("unet.conv_in",)

    @property
    def head_units(self) -> tuple[str, ...]:
        """The 3x3 convolution and, where it is not fused away, the 1x1 behind it."""
        return ("unet.conv_out",) if isinstance(self.conv, nn.Identity) else ("unet.conv_out", "conv")

    @property
    def stages(self) -> tuple[str, ...]:
        """The blocks of the U-Net."""
        down, up = (
            [f"unet.{side}_blocks.{index}" for index in range(len(getattr(self.unet, f"{side}_blocks")))]
            for side in ("down", "up")
        )
        return (*down, self.bottleneck, *up)

    @property
    def bottleneck(self) -> str:
        """The middle block."""
        return "unet.mid_block"

    def fuse_head(self) -> LGM:
        """Fold ``conv`` into ``unet.conv_out``, in place, and return the model; a fused model stays as it is.

        The output is the same up to rounding. ``conv`` becomes an identity without parameters and the config says
        ``fused_head = True``, so that saving and loading agree on the parameters there are.

        Raises:
            GeotrapError: When an adapter sits on one of the two convolutions.
        """
        if not isinstance(self.conv, nn.Identity):
            if type(self.conv) is not nn.Conv2d or type(self.unet.conv_out) is not nn.Conv2d:
                raise GeotrapError("The head cannot be fused under an adapter", hint="Merge or unload it first.")
            fold_into(self.unet.conv_out, self.conv)
            self.conv = nn.Identity()
            defaults = [name for name in self.config.get("_use_default_values", []) if name != "fused_head"]
            self.register_to_config(fused_head=True, _use_default_values=defaults)
        return self
