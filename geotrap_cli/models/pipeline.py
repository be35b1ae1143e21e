"""From pictures or a prompt to Gaussians, as a diffusers pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from geotrap_cli.cameras import Cameras, first_view_frame, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.batch import generator_input
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator

MULTIVIEW_ORDER: Final = (1, 2, 3, 0)
"""ImageDream and MVDream give the view at azimuth 0 last; a fifth frame, the input's, is not one of the views."""


@dataclass
class LGMPipelineOutput(BaseOutput):
    """What the pipeline gives.

    Args:
        gaussians: Gaussians of one object, in the frame of its first view.
        views: The pictures that went into the generator.
    """

    gaussians: GaussianBatch
    views: list[Image.Image]


class LGMPipeline(DiffusionPipeline):
    """Views of an object, one image or a prompt to Gaussians.

    Args:
        lgm: The generator, of any family; ``save_pretrained`` and ``from_pretrained`` keep it.
        multiview: A pipeline from an image or a prompt to four or five views, such as those of ImageDream and MVDream:
            called as ``multiview(prompt, image, guidance_scale=, num_inference_steps=, elevation=)``, it returns
            pictures [H, W, 3] in [0, 1] at azimuths 90, 180, 270 and 0. It is not saved with the pipeline.
    """

    model_cpu_offload_seq = "lgm"

    def __init__(self, lgm: GaussianGenerator, multiview: Any = None) -> None:
        super().__init__()
        self.register_modules(lgm=lgm)
        self.multiview = multiview

    @torch.no_grad()
    def __call__(
        self,
        views: Sequence[Image.Image] | None = None,
        image: Image.Image | None = None,
        prompt: str = "",
        elevation_deg: float = 0.0,
        guidance_scale: float = 5.0,
        num_inference_steps: int = 30,
    ) -> LGMPipelineOutput:
        """Generate one object.

        Args:
            views: As many pictures as the generator takes, at even azimuths from the front on (LGM: 0, 90, 180 and 270
                degrees), on white or with alpha.
            image: One picture, in place of views; a generator of several views needs ``multiview`` for it.
            prompt: A text, in place of both; needs ``multiview``.
            elevation_deg: Degrees of all cameras above the object's equator.
            guidance_scale: Of the multi-view diffusion.
            num_inference_steps: Of the multi-view diffusion.

        Raises:
            UsageError: Not exactly one of views, image and prompt is given where images are asked for, their number
                is wrong, or there is no multi-view pipeline for them.
            NonFiniteError: The generator gives NaN or infinity.
        """
        if views is None:
            settings = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps}
            views = self._imagine(image, prompt, elevation_deg, settings)
        elif image is not None or prompt:
            raise UsageError("Views are given, so an image or a prompt would not act", hint="Give one of them.")
        if len(views) != self.lgm.num_views:
            what = f"{len(views)} views are given, but {type(self.lgm).__name__} takes {self.lgm.num_views}"
            raise UsageError(what, hint="Give as many as it takes, at even azimuths from the front on.")
        pictures = [on_white(view, self.lgm.input_size) for view in views]
        images = self._inputs(pictures, elevation_deg)
        gaussians = self.lgm.forward_gaussians(images)
        if not bool(gaussians.activated.isfinite().all()):
            raise NonFiniteError("The generator gives NaN or infinite Gaussians for these views")
        return LGMPipelineOutput(gaussians=gaussians, views=pictures)

    def _imagine(
        self, image: Image.Image | None, prompt: str, elevation_deg: float, settings: dict[str, Any]
    ) -> list[Image.Image]:
        if image is None and not prompt:
            raise UsageError("There is nothing to generate from", hint="Give views, an image or a prompt.")
        if image is not None and self.lgm.num_views == 1 and not prompt:
            return [image]
        if self.multiview is None:
            what = f"{type(self.lgm).__name__} takes {self.lgm.num_views} views, and no multi-view diffusion makes them"
            raise UsageError(
                what, hint="Give the views, or a multi-view pipeline (Python: LGMPipeline(lgm, multiview))."
            )
        given = None if image is None else np.asarray(on_white(image, max(image.size)), dtype=np.float32) / 255
        # The convention of these pipelines: a positive elevation lies below.
        made = np.asarray(self.multiview(prompt, given, elevation=-elevation_deg, **settings))
        if made.ndim != 4 or len(made) < len(MULTIVIEW_ORDER):
            raise GeotrapError(f"The multi-view pipeline gives {list(made.shape)}, not four pictures [H, W, 3]")
        ordered = (made[index] for index in MULTIVIEW_ORDER)
        return [Image.fromarray((np.clip(view, 0, 1) * 255).round().astype(np.uint8)) for view in ordered]

    def _inputs(self, pictures: Sequence[Image.Image], elevation_deg: float) -> Tensor:
        """The generator's input, ``[1, V, 9, S, S]``, in the frame of the first view."""
        count, size = len(pictures), self.lgm.input_size
        azimuths = 360.0 * torch.arange(count, dtype=torch.float64) / count
        viewmats, _ = first_view_frame(orbit_viewmats(-elevation_deg, azimuths))
        Ks = intrinsics_from_fov(math.radians(self.lgm.fov_deg), size, size).expand(count, 3, 3)
        rgb = torch.stack([torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255) for picture in pictures])
        images = generator_input(rgb, Cameras(viewmats, Ks, size, size))[None]
        return images.to(self.lgm.device, self.lgm.dtype)


def on_white(picture: Image.Image, size: int) -> Image.Image:
    """``picture`` as RGB on white, padded to a square and resampled to ``size`` pixels a side."""
    rgba = picture.convert("RGBA")
    side = max(rgba.size)
    square = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    square.alpha_composite(rgba, ((side - rgba.width) // 2, (side - rgba.height) // 2))
    return square.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)


def load_multiview(name: str) -> Any:
    """Return the diffusion pipeline in a local folder, or under a hub id; code that it may bring is not run.

    Raises:
        UsageError: It cannot be loaded.
    """
    try:
        return DiffusionPipeline.from_pretrained(name)
    except (OSError, ValueError, AttributeError, ImportError) as error:
        first = " ".join(str(error).split())[:160]
        what = f"{name} is no multi-view pipeline that diffusers can load by itself ({first})"
        hint = "Pipelines with code of their own are given in Python: LGMPipeline(lgm, multiview)."
        raise UsageError(what, hint=hint) from error
