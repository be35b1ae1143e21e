"""Known changes, one attribute at a time, and what a rotation's sign must not do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.training.drift import attribute_drift

Make = Callable[..., GaussianBatch]


def turned(batch: GaussianBatch, angle: float) -> GaussianBatch:
    """The same Gaussians after a rotation about z: (cos(angle/2), 0, 0, sin(angle/2)) · q."""
    w, x, y, z = batch.quats.detach().unbind(-1)
    cos, sin = math.cos(angle / 2), math.sin(angle / 2)
    activated = batch.activated.detach().clone()
    activated[..., CHANNELS["quats"]] = torch.stack(
        (cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w), dim=-1
    )
    return GaussianBatch(activated)


@pytest.mark.parametrize("name", ["means", "opacities", "scales", "rgb"])
def test_a_shift_of_one_attribute_is_its_drift_and_that_of_no_other(random_batch: Make, name: str) -> None:
    teacher = random_batch(objects=2, dtype=torch.float64).detach()
    activated = teacher.activated.clone()
    activated[0, :, CHANNELS[name]] += 0.25
    activated[1, 0, CHANNELS[name]] -= 0.25
    drift = attribute_drift(GaussianBatch(activated), teacher)
    assert list(drift) == list(CHANNELS)
    assert drift[name].tolist() == pytest.approx([0.25, 0.25 / teacher.num_gaussians])
    assert all(value.tolist() == [0, 0] for other, value in drift.items() if other != name)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, 3.0, -3.0, math.pi])
def test_rotations_drift_by_their_angle(random_batch: Make, angle: float) -> None:
    teacher = random_batch(objects=3, dtype=torch.float64).detach()
    drift = attribute_drift(turned(teacher, angle), teacher)
    assert drift["quats"].tolist() == pytest.approx([abs(angle)] * 3, rel=1e-6, abs=1e-12)
    assert drift["means"].tolist() == [0, 0, 0]


@given(seed=st.integers(0, 2**20))
def test_the_sign_of_a_quaternion_is_no_drift(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (activate(torch.randn(1, 5, 14, generator=generator)) for _ in range(2))
    signs = torch.randint(0, 2, (1, 5, 1), generator=generator) * 2 - 1
    activated = student.activated.clone()
    activated[..., CHANNELS["quats"]] *= signs
    assert torch.equal(
        attribute_drift(GaussianBatch(activated), teacher)["quats"], attribute_drift(student, teacher)["quats"]
    )


def test_objects_do_not_mix(random_batch: Make) -> None:
    student, teacher = random_batch(seed=0), random_batch(seed=1)
    both = attribute_drift(student, teacher)
    for index in range(2):
        alone = attribute_drift(student[index], teacher[index])
        assert all(torch.equal(value, both[name][index : index + 1]) for name, value in alone.items())
    assert not any(value.requires_grad for value in both.values())


def test_zero_quaternions_and_nan_are_told_not_hidden(random_batch: Make) -> None:
    teacher = random_batch(objects=2).detach()
    activated = teacher.activated.clone()
    activated[0, :, CHANNELS["quats"]] = 0
    activated[1, 3, CHANNELS["rgb"]] = math.nan
    activated[1, 3, CHANNELS["quats"]] = math.nan
    drift = attribute_drift(GaussianBatch(activated), teacher)
    assert drift["quats"][0].item() == pytest.approx(2 * math.pi / 3)
    assert drift["quats"][1].isnan() and drift["rgb"][1].isnan()
    assert drift["means"].tolist() == [0, 0]


def test_shapes_that_differ_are_refused(random_batch: Make) -> None:
    with pytest.raises(ValueError, match=r"\[2, 8, 14\] and \[1, 8, 14\]"):
        attribute_drift(random_batch(objects=2), random_batch(objects=1))
