"""Levels of health: each kind of trap lowers its own, and descending a shortfall raises it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks._health_terms import health_levels, shortfalls, z_axes
from geotrap_traps.rotation import rotation_matrices
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, activate


def healthy(seed: int = 0) -> Tensor:
    raw = 0.3 * torch.randn(2, 64, 14, generator=torch.Generator().manual_seed(seed))
    raw[..., CHANNELS["quats"]] = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(seed + 1))
    return raw


def _flatten(raw: Tensor) -> None:
    raw[..., 2] = 0.1


def _shrink_to_a_point(raw: Tensor) -> None:
    raw[..., CHANNELS["means"]] = 0.01 * raw[..., CHANNELS["means"]]


def _push_out(raw: Tensor) -> None:
    raw[..., CHANNELS["means"]] += 1.5


def _fade(raw: Tensor) -> None:
    raw[..., CHANNELS["opacities"]] -= 20.0


def _stretch(raw: Tensor) -> None:
    raw[..., CHANNELS["scales"].start] += 3.0
    raw[..., CHANNELS["scales"].stop - 1] -= 3.0


def _shrink_scales(raw: Tensor) -> None:
    raw[..., CHANNELS["scales"]] -= 6.0


def _align(raw: Tensor) -> None:
    raw[..., CHANNELS["quats"]] = torch.tensor([1.0, 0.2, 0.0, 0.0])


def _grey(raw: Tensor) -> None:
    raw[..., CHANNELS["rgb"]] = raw[..., CHANNELS["rgb"]].mean(dim=-1, keepdim=True)


TRAPPED: list[tuple[str, Callable[[Tensor], None]]] = [
    ("spread", _flatten),
    ("spread", _shrink_to_a_point),
    ("inside", _push_out),
    ("opacity", _fade),
    ("roundness", _stretch),
    ("size", _shrink_scales),
    ("diversity", _align),
    ("color", _grey),
]


@pytest.mark.parametrize(("level", "trap"), TRAPPED)
def test_a_trapped_attribute_lowers_its_level_and_its_term_raises_it_again(
    level: str, trap: Callable[[Tensor], None]
) -> None:
    reference = {name: float(values.mean()) for name, values in health_levels(activate(healthy())).items()}
    raw = healthy(5)
    trap(raw)
    raw += 1e-3 * torch.randn(raw.shape, generator=torch.Generator().manual_seed(9))
    raw.requires_grad_(True)
    term = shortfalls(activate(raw), reference)[level]
    assert float(term.detach()) > 1.0 or level == "inside"
    assert float(term.detach()) > 0.1
    term.backward()
    assert raw.grad is not None
    with torch.no_grad():
        stepped = raw - 1e-3 * raw.grad / raw.grad.abs().max()
    before, after = (health_levels(activate(x.detach()))[level].mean() for x in (raw, stepped))
    assert float(after) > float(before)


def test_health_above_the_reference_costs_nothing() -> None:
    levels = {name: float(values.min()) - 0.1 for name, values in health_levels(activate(healthy())).items()}
    assert all(float(term) == 0 for term in shortfalls(activate(healthy()), levels).values())


def test_z_axes_are_third_columns_of_rotation_matrices() -> None:
    quats = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(z_axes(quats), rotation_matrices(quats)[..., 2])


def test_nan_stays_nan() -> None:
    raw = healthy()
    raw[0, 0, 0] = float("nan")
    assert bool(health_levels(activate(raw))["spread"][0].isnan())
