"""An objective with mechanisms on, and weights that have moved away from the teacher's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.trap_set import TrapSet

#: With the traps alone in the total, and only at the places of the mechanisms.
ONLY_PLACES = ("robust.clean_weight=0.0", "train.source_ratio=0.0", "train.trap_weight=1.0")


@pytest.fixture
def make_objective(open_mini: Callable[..., Any]) -> Callable[..., DefenseObjective]:
    """Builds the objective of the mini profile with ``--set`` arguments."""

    def make(*overrides: str) -> DefenseObjective:
        opened = open_mini(*overrides)
        teacher = copy.deepcopy(opened.model)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in opened.model.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        select_parameters(opened.model, *layer_choice(opened.model, opened.bench.profile))
        return DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))

    return make


@pytest.fixture
def images() -> Tensor:
    """Input of two objects for the tiny generator."""
    return torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def with_weights() -> Callable[..., nn.Module]:
    """Copies a generator and overwrites weights of the copy: perturbed by hand."""

    def make(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for name, value in other.named_parameters():
                if name in weights:
                    value.copy_(weights[name])
        return other

    return make
