"""The sets of weights that an attack run attacks, opened by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from geotrap_cli.evaluation.cells import DEFENDED, DISTILL, NOISE, ORIGINS, SCRATCH, UNDEFENDED
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.control_weights import add_matched_noise, scratch_model
from geotrap_cli.training.workbench import open_model


class Subjects:
    """Opens a fresh copy of the weights of a subject, and tells their hash.

    Args:
        profile: The profile of the attacks.
        device: Where models go.
        released: Folder of the defended weights.
    """

    def __init__(self, profile: Profile, device: torch.device, released: Path) -> None:
        self.profile, self.device = profile, device
        #: Gives the folder with the distilled weights, training them where they are missing.
        self.distilled: Callable[[], Path] | None = None
        self._hashes: dict[str, str] = {}
        self._makers: dict[str, Callable[[], GaussianGenerator]] = {
            UNDEFENDED: lambda: open_model(profile, device),
            DEFENDED: lambda: open_model(profile, device, str(released)),
            SCRATCH: lambda: scratch_model(profile, device),
            NOISE: self._noisy,
            DISTILL: self._open_distilled,
        }

    def open(self, subject: str) -> GaussianGenerator:
        """Return the weights of a subject; those of a benign control or a trial are the ones it attacks."""
        return self._makers[ORIGINS.get(subject, subject)]()

    def digest(self, subject: str) -> str:
        """Return the content hash of the weights of a subject."""
        origin = ORIGINS.get(subject, subject)
        if origin not in self._hashes:
            self._hashes[origin] = weights_hash(self.open(origin))
        return self._hashes[origin]

    def _noisy(self) -> GaussianGenerator:
        return add_matched_noise(self.open(UNDEFENDED), self.open(DEFENDED), self.profile.attack.seed)

    def _open_distilled(self) -> GaussianGenerator:
        assert self.distilled is not None, "set before any control runs"
        return open_model(self.profile, self.device, str(self.distilled()))
