"""Methods that edit weights before any step leave them where their formula says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_defenses.lox import LoxConfig, LoxDefense
from geotrap_defenses.noise import NoiseConfig, NoiseDefense
from geotrap_defenses.none import NoDefense
from torch import Tensor

from geotrap_cli.training.robust.streams import Stream, derived_seed

DEFENDED = Path("defended")


def copied(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture
def undefended(tiny: Any) -> Any:
    """A context at the undefended weights, beside those of a finished defense in a file."""
    context = tiny.context
    context.files[DEFENDED] = type(context.teacher)(shift=0.3)
    context.model.load_state_dict(context.teacher.state_dict())
    return context


def test_no_defense_leaves_the_weights_and_takes_no_step(undefended: Any) -> None:
    defense = NoDefense()
    defense.prepare(undefended)
    before = copied(undefended.teacher)
    assert all(value.equal(before[name]) for name, value in copied(undefended.model).items())
    assert not defense.trains


@pytest.mark.parametrize(("factor", "rank"), [(0.5, 1), (1.25, 2), (1.0, 9)])
def test_lox_goes_on_from_the_defense_along_its_largest_directions(undefended: Any, factor: float, rank: int) -> None:
    LoxDefense(LoxConfig(defended=DEFENDED, factor=factor, rank=rank)).prepare(undefended)
    before, after = copied(undefended.teacher), copied(undefended.files[DEFENDED])
    for name, value in copied(undefended.model).items():
        expected = after[name].clone()
        if name.endswith("weight"):
            change = (after[name] - before[name]).flatten(1)
            # Eigenvectors of Δ·Δᵀ are the left singular vectors of Δ; their projection keeps Δ along them.
            directions = torch.linalg.eigh(change @ change.T).eigenvectors[:, -rank:]
            expected += factor * (directions @ directions.T @ change).view_as(expected)
        assert torch.allclose(value, expected, rtol=1e-8, atol=1e-10), name


def test_noise_is_relative_to_each_trained_tensor_and_then_distilled(undefended: Any, tiny: Any) -> None:
    defense = NoiseDefense(NoiseConfig(sigma=0.3))
    defense.prepare(undefended)
    random = torch.Generator().manual_seed(derived_seed(undefended.seed, Stream.DEFENSE_NOISE))
    expected = copied(undefended.teacher)
    for name in ("body.weight", "body.bias"):
        value = expected[name]
        drawn = torch.randn(value.shape, generator=random, dtype=value.dtype)
        expected[name] = value + 0.3 * value.norm() / value.numel() ** 0.5 * drawn
    for name, value in copied(undefended.model).items():
        assert torch.allclose(value, expected[name], rtol=1e-10), name
    tiny.follows(defense, lambda theta: tiny.p * tiny.kept(theta))


def test_noise_like_a_defense_is_as_long_in_each_unit(undefended: Any) -> None:
    NoiseDefense(NoiseConfig(like=DEFENDED)).prepare(undefended)
    before, after = copied(undefended.teacher), copied(undefended.files[DEFENDED])
    random = torch.Generator().manual_seed(derived_seed(undefended.seed, Stream.DEFENSE_NOISE))
    found = copied(undefended.model)
    for names in undefended.model.units().values():
        drawn = [torch.randn(before[name].shape, generator=random).flatten() for name in names]
        noise, change, moved = (
            torch.cat(parts).double()
            for parts in (
                drawn,
                [(after[name] - before[name]).flatten() for name in names],
                [(found[name] - before[name]).flatten() for name in names],
            )
        )
        assert torch.allclose(moved, change.norm() * noise / noise.norm(), rtol=1e-5)
