"""The reconstruction loss of LGM, in plain terms: colour, silhouette and, when asked, a perceptual term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import render

#: A differentiable distance of two image stacks [M,H,W,3] with values in [0,1]: one value an image, [M].
PerceptualTerm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ReconstructionLoss:
    """MSE(rgb) + MSE(alpha) + λ·perceptual on rendered views (LGM, Tang et al. 2024, §3.4).

    Attributes:
        rgb_weight: Weight of the colour term, on images composited on white.
        alpha_weight: Weight of the silhouette term.
        perceptual: Perceptual distance, or None.
        perceptual_weight: Its weight λ.
    """

    rgb_weight: float = 1.0
    alpha_weight: float = 1.0
    perceptual: PerceptualTerm | None = None
    perceptual_weight: float = 1.0

    def __call__(self, gaussians: GaussianBatch, batch: ViewBatch) -> dict[str, torch.Tensor]:
        """Render ``gaussians`` into the batch's supervised cameras and compare; returns the terms, unsummed."""
        rendered = render(gaussians, batch.cameras)
        terms = {
            "rgb": self.rgb_weight * F.mse_loss(rendered.rgb, batch.rgb),
            "alpha": self.alpha_weight * F.mse_loss(rendered.alpha, batch.alpha),
        }
        if self.perceptual is not None:
            images, truth = rendered.rgb.flatten(0, 1), batch.rgb.flatten(0, 1)
            terms["perceptual"] = self.perceptual_weight * self.perceptual(images, truth).mean()
        return terms


def with_total(terms: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the terms and, under ``total``, their sum."""
    return {**terms, "total": torch.stack([term.float() for term in terms.values()]).sum()}
