from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.training.retention import distillation


def constant(value: float) -> GaussianBatch:
    return GaussianBatch(torch.full((2, 3, 14), value), None)


def test_known_values() -> None:
    student, teacher = constant(0.75), constant(0.25)
    assert distillation(student, teacher).item() == 0.5
    assert distillation(student, teacher, power=1).item() == 0.5
    assert distillation(student, teacher, power=2).item() == 0.25
    assert distillation(teacher, student, power=1).item() == 0.5


def test_every_channel_of_every_gaussian_counts_alike() -> None:
    teacher = constant(0.0)
    for channel in range(14):
        changed = torch.zeros(2, 3, 14)
        changed[1, 2, channel] = 84.0
        assert distillation(GaussianBatch(changed, None), teacher).item() == pytest.approx(1.0)


def test_the_teacher_itself_costs_nothing(random_batch: Callable[..., GaussianBatch]) -> None:
    batch = random_batch()
    assert distillation(batch, batch.detach()).item() == 0


@pytest.mark.parametrize("power", [1, 2])
def test_the_gradient_points_away_from_the_teacher(random_batch: Callable[..., GaussianBatch], power: int) -> None:
    student, teacher = random_batch(seed=0), random_batch(seed=1).detach()
    activated = student.activated.detach().requires_grad_()
    distillation(GaussianBatch(activated, None), teacher, power).backward()
    difference = activated.detach() - teacher.activated
    assert torch.equal(activated.grad.sign(), difference.sign())


def test_half_precision_is_compared_in_full(random_batch: Callable[..., GaussianBatch]) -> None:
    student = GaussianBatch(torch.full((1, 1, 14), 1.0, dtype=torch.bfloat16), None)
    teacher = GaussianBatch(torch.full((1, 1, 14), 0.999), None)
    assert distillation(student, teacher).item() == pytest.approx(0.001, rel=1e-3)
