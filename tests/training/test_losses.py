from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.data.views import ViewBatch
from geotrap_cli.evaluation.metrics import ssim
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.render import render
from geotrap_cli.training.losses import ReconstructionLoss, with_total


@pytest.fixture
def batch(open_mini: Callable[..., Any]) -> ViewBatch:
    bench = open_mini().bench
    return bench.sampler(bench.splits.attack_target, 2, seed=0).batch(0, 2)


@pytest.fixture
def gaussians() -> GaussianBatch:
    raw = 0.3 * torch.randn(2, 64, 14, generator=torch.Generator().manual_seed(0))
    return activate(raw.requires_grad_())


def test_the_terms_are_mean_squared_errors_of_renders(batch: ViewBatch, gaussians: GaussianBatch) -> None:
    rendered = render(gaussians, batch.cameras)
    terms = ReconstructionLoss(rgb_weight=2.0, alpha_weight=0.5)(gaussians, batch)
    assert terms.keys() == {"rgb", "alpha"}
    assert terms["rgb"].item() == pytest.approx(2.0 * (rendered.rgb - batch.rgb).square().mean().item())
    assert terms["alpha"].item() == pytest.approx(0.5 * (rendered.alpha - batch.alpha).square().mean().item())


def test_descending_the_loss_brings_the_render_closer(batch: ViewBatch) -> None:
    raw = (0.3 * torch.randn(2, 64, 14, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        total = with_total(ReconstructionLoss()(activate(raw), batch))["total"]
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_perceptual_term_is_averaged_over_all_views_and_weighed(batch: ViewBatch, gaussians: GaussianBatch) -> None:
    loss = ReconstructionLoss(perceptual=lambda x, y: (x - y).abs().mean(dim=(1, 2, 3)), perceptual_weight=3.0)
    rendered = render(gaussians, batch.cameras)
    expected = 3.0 * (rendered.rgb - batch.rgb).abs().mean()
    assert loss(gaussians, batch)["perceptual"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_dssim_from_the_profile_acts(open_mini: Callable[..., Any], batch: ViewBatch, gaussians: GaussianBatch) -> None:
    bench = open_mini("loss.perceptual=dssim", "loss.perceptual_weight=0.5").bench
    terms = bench.reconstruction_loss()(gaussians, batch)
    rendered = render(gaussians, batch.cameras)
    expected = 0.5 * (1 - ssim(rendered.rgb, batch.rgb).mean()) / 2
    assert terms["perceptual"].item() == pytest.approx(expected.item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(terms["perceptual"], gaussians.require_raw())
    assert gradient.abs().sum() > 0
    assert "perceptual" not in open_mini().bench.reconstruction_loss()(gaussians, batch)


def test_weights_from_the_profile_act(
    open_mini: Callable[..., Any], batch: ViewBatch, gaussians: GaussianBatch
) -> None:
    plain = open_mini().bench.reconstruction_loss()(gaussians, batch)
    weighed = open_mini("loss.rgb_weight=3.0", "loss.alpha_weight=0.0").bench.reconstruction_loss()(gaussians, batch)
    assert weighed["rgb"].item() == pytest.approx(3 * plain["rgb"].item(), rel=1e-6)
    assert weighed["alpha"].item() == 0


def test_total_is_the_sum_in_float32() -> None:
    terms = {"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(-0.5, dtype=torch.bfloat16)}
    total = with_total(terms)
    assert list(total) == ["a", "b", "total"]
    assert total["total"].item() == 1.0
    assert total["total"].dtype == torch.float32
    total["total"].backward()
    assert terms["a"].grad == 1
