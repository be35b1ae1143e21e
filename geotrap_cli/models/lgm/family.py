"""LGM as a plug-in: its sizes and the layout of the weights its authors released.

``model_fp16_fixrot.safetensors`` holds the 376 tensors of the ``big`` preset in half precision, without metadata or
config. Two older files have the same layout but were trained when quaternions were normalised over the Gaussians
instead of over their four components; nothing inside the files tells them apart, only their names do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from geotrap_cli.models.family import Settings
from geotrap_cli.models.lgm.architecture import Architecture
from geotrap_cli.models.lgm.presets import PRESETS

if TYPE_CHECKING:
    from torch import Tensor

    from geotrap_cli.models.generator import GaussianGenerator

BEFORE_ROTATION_FIX: Final = frozenset({"model", "model_fp16"})
"""Stems of the names under which the weights from before the rotation fix were released."""


class LGMFamily:
    """LGM: a U-Net with attention across four views (Tang et al., ECCV 2024)."""

    key: ClassVar[str] = "lgm"
    summary: ClassVar[str] = "LGM: four views to Gaussians by a U-Net with attention across views"
    class_name: ClassVar[str] = "LGM"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: dataclasses.asdict(arch) for name, arch in PRESETS.items()
    }

    published: ClassVar[tuple[str, ...]] = ("big",)

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> Settings:
        """All settings as ``geotrap_cli.models.lgm.architecture.Architecture`` has them."""
        return Architecture.parse(settings).asdict()

    @classmethod
    def network(cls) -> type[GaussianGenerator]:
        """The class ``LGM``."""
        from geotrap_cli.models.lgm.model import LGM

        return LGM

    @classmethod
    def official_files(cls, preset: str, old_rotation: bool) -> tuple[str, ...]:
        """The files of ``ashawkey/LGM``: one size, in half and in full precision."""
        del preset
        fixed = "" if old_rotation else "_fixrot"
        return tuple(f"{stem}{fixed}.safetensors" for stem in ("model_fp16", "model"))

    @classmethod
    def from_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """The tensors as they are: the names are the released ones."""
        del settings
        return dict(tensors)

    @classmethod
    def to_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """The tensors as they are."""
        del settings
        return dict(tensors)

    @classmethod
    def old_rotation(cls, name: str) -> bool | None:
        """Whether ``name`` is that of a file from before the rotation fix."""
        return name.rpartition(".")[0] in BEFORE_ROTATION_FIX
