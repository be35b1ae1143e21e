"""The image-space term: what it sees, what it does not, and where its gradient points."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from geotrap_cli.cameras import Cameras
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.render import render
from geotrap_cli.training.distillation_render import render_distillation

SIZE = 12


def cameras(objects: int, views: int, dtype: torch.dtype = torch.float64) -> Cameras:
    """In front of the origin, at distances from 1.5 on."""
    viewmats = torch.eye(4, dtype=dtype).repeat(objects, views, 1, 1)
    viewmats[..., 2, 3] = 1.5 + 0.1 * torch.arange(views)
    Ks = torch.tensor([[12.0, 0, 6], [0, 12, 6], [0, 0, 1]], dtype=dtype).expand(objects, views, 3, 3)
    return Cameras(viewmats, Ks, SIZE, SIZE)


def cloud(seed: int = 0, objects: int = 2, gaussians: int = 6) -> GaussianBatch:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(objects, gaussians, 14, generator=generator, dtype=torch.float64)
    values[..., CHANNELS["means"]] = 0.4 * values[..., CHANNELS["means"]] - 0.2
    values[..., CHANNELS["scales"]] = 0.05 + 0.1 * values[..., CHANNELS["scales"]]
    values[..., CHANNELS["opacities"]] = 0.2 + 0.6 * values[..., CHANNELS["opacities"]]
    values[..., CHANNELS["quats"]] = torch.nn.functional.normalize(values[..., CHANNELS["quats"]] - 0.5, dim=-1)
    return GaussianBatch(values)


def test_it_is_the_mean_square_over_colours_on_black_and_alpha() -> None:
    student, teacher, views = cloud(0), cloud(1), cameras(2, 3)
    first, second = render(student, views, background=0.0), render(teacher, views, background=0.0)
    squares = (first.rgb - second.rgb).pow(2).sum() + (first.alpha - second.alpha).pow(2).sum()
    expected = squares / (2 * 3 * SIZE * SIZE * 4)
    assert render_distillation(student, teacher, views).item() == pytest.approx(expected.item(), rel=1e-9)


def test_what_looks_alike_costs_nothing() -> None:
    batch, views = cloud(), cameras(2, 1)
    mirrored = batch.activated.clone()
    mirrored[..., CHANNELS["quats"]] *= -1
    hidden = torch.cat((batch.activated, cloud(1).activated), dim=1)
    hidden[:, batch.num_gaussians :, CHANNELS["opacities"]] = 0
    for same in (batch.activated, mirrored, hidden):
        assert render_distillation(GaussianBatch(same), batch, views).item() == pytest.approx(0, abs=1e-24)


def test_black_on_black_is_told_apart_by_its_silhouette() -> None:
    """On a black background alone, an opaque black cloud and none at all would be the same image."""
    black = cloud().activated
    black[..., CHANNELS["rgb"]] = 0
    none = black.clone()
    none[..., CHANNELS["opacities"]] = 0
    assert render_distillation(GaussianBatch(none), GaussianBatch(black), cameras(2, 1)) > 1e-3


def test_the_gradient_is_that_of_the_value_and_points_back_to_the_teacher() -> None:
    teacher, views = cloud(objects=1, gaussians=2), cameras(1, 1)
    student = teacher.activated.clone()
    student[..., CHANNELS["rgb"]] += 0.1
    student.requires_grad_()
    frozen = GaussianBatch(teacher.activated.clone().requires_grad_())
    render_distillation(GaussianBatch(student), frozen, views).backward()
    assert student.grad is not None and (student.grad[..., CHANNELS["rgb"]] > 0).all()
    assert frozen.activated.grad is None
    rgb = student.detach()[..., CHANNELS["rgb"]].clone().requires_grad_()

    def value(colours: torch.Tensor) -> torch.Tensor:
        activated = torch.cat((student.detach()[..., : CHANNELS["rgb"].start], colours), dim=-1)
        return render_distillation(GaussianBatch(activated), teacher, views)

    assert torch.autograd.gradcheck(value, (rgb,))


def test_descending_on_it_restores_a_hidden_object() -> None:
    teacher, views = cloud(), cameras(2, 2)
    logits = torch.full((2, 6, 1), -2.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    losses = []
    for _ in range(40):
        activated = teacher.activated.clone()
        activated[..., CHANNELS["opacities"]] = torch.sigmoid(logits)
        loss = render_distillation(GaussianBatch(activated), teacher, views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_no_gaussian_in_sight_is_zero_and_nan_is_an_error() -> None:
    teacher, views = cloud(), cameras(2, 1)
    behind = replace(views, viewmats=views.viewmats.clone())
    behind.viewmats[..., 2, 3] = -5
    assert render_distillation(cloud(1), teacher, behind).item() == 0
    broken = teacher.activated.clone()
    broken[0, 0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="means"):
        render_distillation(GaussianBatch(broken), teacher, views)
