"""A profile made concrete, and cheap stand-ins for what a network gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Opened:
    """What every command opens first."""

    bench: Workbench
    model: LGM


@pytest.fixture(scope="module")
def trained(mini_profile: Path, make_runs: Callable[..., Path]) -> Path:
    """A folder with one train run."""
    return make_runs(["train", "--profile", str(mini_profile), "--set", "train.steps=2"])


@pytest.fixture
def open_mini(load_mini: Callable[..., LoadedProfile]) -> Callable[..., Opened]:
    """Opens the mini profile with ``--set`` arguments."""

    def open_(*overrides: str) -> Opened:
        profile = load_mini(*overrides).profile
        model = open_model(profile, CPU)
        return Opened(open_workbench(profile, CPU, model), model)

    return open_


@pytest.fixture
def random_batch() -> Callable[..., GaussianBatch]:
    """Activated random Gaussians of a seed, whose raw channels are a leaf."""

    def make(objects: int = 2, gaussians: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32) -> GaussianBatch:
        generator = torch.Generator().manual_seed(seed)
        return activate(torch.randn(objects, gaussians, 14, generator=generator, dtype=dtype).requires_grad_())

    return make
