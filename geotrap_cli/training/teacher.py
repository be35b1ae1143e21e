"""The undefended generator as a source of constants."""

from __future__ import annotations

import torch
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.teacher_cache import TeacherCache


class Teacher:
    """What the undefended generator makes of source objects, without gradient and in the student's precision.

    Objects go through one at a time: a convolution rounds differently in another batch, and so an output is a function
    of its object alone, the same whether it was stored or is computed, and in whichever batch it is asked for.

    Args:
        model: The undefended generator.
        precision: ``train.precision``.
        device: Where it computes.
        cache: Outputs that need not be computed again; None: compute all.
    """

    def __init__(
        self, model: GaussianGenerator, precision: str, device: torch.device, cache: TeacherCache | None = None
    ) -> None:
        self.model, self.precision, self.device, self.cache = model, precision, device, cache

    @torch.no_grad()
    def __call__(self, images: Tensor) -> GaussianBatch:
        """Return the Gaussians for input ``[B, V, 9, H, W]``.

        Raises:
            OSError: The cache cannot be written.
        """
        return self.model.activate(torch.cat([self._one(image) for image in images.split(1)]))

    def _one(self, image: Tensor) -> Tensor:
        if self.cache is None:
            return self._compute(image)
        return self.cache.get(image, lambda: self._compute(image)).to(self.device)

    def _compute(self, image: Tensor) -> Tensor:
        with autocast(self.precision, self.device):
            raw: Tensor = self.model(image)
        return raw
