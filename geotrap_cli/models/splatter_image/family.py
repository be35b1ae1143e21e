"""Splatter Image as a plug-in: its sizes and the layout of the weights its authors published.

A published ``.pth`` file holds ``model_state_dict``: the parameters under the names used here, and constants that
follow from the settings (``ray_dirs``, the two matrices of the harmonics, a 2x2 mean filter at every resampling layer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from geotrap_cli.errors import UsageError
from geotrap_cli.models.family import Settings
from geotrap_cli.models.splatter_image.architecture import Architecture
from geotrap_cli.models.splatter_image.presets import PRESETS

if TYPE_CHECKING:
    from torch import Tensor

    from geotrap_cli.models.generator import GaussianGenerator

FILTER: Final = ".resample_filter"
RAY_DIRS: Final = "ray_dirs"
TO_SH, FROM_SH = "v_to_sh_transform", "sh_to_v_transform"
RESAMPLED: Final = ("conv0", "skip")


class SplatterImageFamily:
    """Splatter Image: one view to one Gaussian a pixel (Szymanowicz et al., CVPR 2024)."""

    key: ClassVar[str] = "splatter_image"
    summary: ClassVar[str] = "Splatter Image: one view to one Gaussian a pixel by a convolutional U-Net"
    class_name: ClassVar[str] = "SplatterImage"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    published: ClassVar[tuple[str, ...]] = ("objaverse", "cars", "chairs")

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> Settings:
        """All settings as ``geotrap_cli.models.splatter_image.architecture.Architecture`` has them."""
        return Architecture.parse(settings).asdict()

    @classmethod
    def network(cls) -> type[GaussianGenerator]:
        """The class ``SplatterImage``."""
        from geotrap_cli.models.splatter_image.model import SplatterImage

        return SplatterImage

    @classmethod
    def official_files(cls, preset: str, old_rotation: bool) -> tuple[str, ...]:
        """The files of ``szymanowiczs/splatter-image-v1``, which calls the weights for Objaverse its latest."""
        del old_rotation
        return (f"model_{'latest' if preset == 'objaverse' else preset}.pth",)

    @classmethod
    def from_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """The parameters; the constants beside them are checked and left out.

        Raises:
            UsageError: The rays are those of other settings, or a filter is no mean.
        """
        rays, constants = tensors.get(RAY_DIRS), {RAY_DIRS, TO_SH, FROM_SH}
        if rays is not None and (rays.ndim != 4 or list(rays.shape[-2:]) != 2 * [settings["input_size"]]):
            what = f"the file's {RAY_DIRS} is {list(rays.shape)}, not of {settings['input_size']} pixels a side"
            raise UsageError(what, hint="Name another preset.")
        for name, value in tensors.items():
            if name.endswith(FILTER) and not bool((value == 0.25).all()):
                raise UsageError(
                    f"the file's {name} is no mean over 2x2 pixels", hint="Other filters are not built in."
                )
        return {name: value for name, value in tensors.items() if name not in constants and not name.endswith(FILTER)}

    @classmethod
    def to_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """The parameters and the constants."""
        import torch

        published = dict(tensors)
        for name in tensors:
            block, _, layer = name.removesuffix(".weight").rpartition(".")
            if name.endswith(".weight") and block.endswith(("_down", "_up")) and layer in RESAMPLED:
                published[f"{block}.{layer}{FILTER}"] = torch.full((1, 1, 2, 2), 0.25)
        published[RAY_DIRS] = _ray_directions(settings["input_size"], settings["fov_deg"])
        if settings["sh_degree"] > 0:
            # The functions of degree 1 are -y, z and -x of a direction.
            published[TO_SH] = torch.tensor([[[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
            published[FROM_SH] = published[TO_SH].mT.contiguous()
        return published

    @classmethod
    def old_rotation(cls, name: str) -> bool | None:
        """None: there was never another rotation normalisation."""
        del name
        return None


def _ray_directions(size: int, fov_deg: float) -> Tensor:
    """Directions ``[1, 3, size, size]`` of the pixels' rays at depth one, OpenCV axes."""
    import torch

    focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    steps = (torch.arange(size) + 0.5 - size / 2) / focal
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((columns, rows, torch.ones_like(rows)))[None]
