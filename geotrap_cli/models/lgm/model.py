"""LGM as a diffusers model: four posed views in, Gaussians out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor, nn

from geotrap_cli.compat import ensure_torchvision

ensure_torchvision()  # diffusers' adapters import peft, which imports torchvision

from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: E402
from diffusers.loaders import PeftAdapterMixin  # noqa: E402
from diffusers.models.modeling_utils import ModelMixin  # noqa: E402

from geotrap_cli.errors import GeotrapError  # noqa: E402
from geotrap_cli.gaussians import GaussianBatch, activate  # noqa: E402
from geotrap_cli.models.lgm.architecture import architecture  # noqa: E402
from geotrap_cli.models.lgm.fusion import fold_into  # noqa: E402
from geotrap_cli.models.lgm.presets import preset  # noqa: E402
from geotrap_cli.models.lgm.unet import UNet  # noqa: E402
from geotrap_cli.models.lgm.units import group_by_unit  # noqa: E402

INPUT_CHANNELS: Final = 9
"""Normalised RGB (3) and Plücker rays, moment first (6)."""

GAUSSIAN_CHANNELS: Final = 14
"""Mean (3), opacity (1), scale (3), quaternion wxyz (4), rgb (3)."""


class LGM(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """Large multi-view Gaussian model (Tang et al., ECCV 2024): one Gaussian per view and cell of a feature map.

    The constructor takes the fields of ``geotrap_cli.models.lgm.architecture.Architecture``; parameter names are
    those of the released weights. Fresh weights are PyTorch's defaults, from the global generator: seed it before.

    Raises:
        UsageError: When the arguments contradict one another.
    """

    _supports_gradient_checkpointing = True

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
    ) -> None:
        super().__init__()
        arch = architecture(
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
            }
        )
        self.input_size = arch.input_size
        self.splat_size = arch.splat_size
        self.output_size = arch.output_size
        self.num_views = arch.num_views
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
        self._check_shape(images)
        features = self.conv(self.unet(images.flatten(0, 1)))
        return features.unflatten(0, (-1, self.num_views)).permute(0, 1, 3, 4, 2).flatten(1, 3)

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        """Gaussians of each object, with their raw channels; arguments as in ``forward``."""
        return activate(self(images))

    def units(self) -> dict[str, list[str]]:
        """Parameter names by unit, in state-dict order; see ``geotrap_cli.models.lgm.units``."""
        return group_by_unit(name for name, _ in self.named_parameters())

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

    def _check_shape(self, images: Tensor) -> None:
        expected = (self.num_views, INPUT_CHANNELS, self.input_size, self.input_size)
        if images.ndim != 5 or images.shape[1:] != expected:
            raise GeotrapError(
                f"LGM takes images of shape [B, {', '.join(map(str, expected))}], not {list(images.shape)}",
                hint="The channels are normalised RGB and Plücker rays.",
            )
