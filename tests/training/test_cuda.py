"""One training step on a GPU against the same step on the CPU, with the tolerances of the rasterizers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.workbench import open_model, open_workbench

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MOST = 5e-3
LEAST_COSINE = 0.9999


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    found, expected = found.cpu().flatten(), expected.flatten()
    assert float((found - expected).norm() / expected.norm()) <= MOST
    assert float(torch.cosine_similarity(found, expected, dim=0)) >= LEAST_COSINE


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, "allow_tf32", False)


def test_the_generator_agrees(micro: LGM) -> None:
    images = torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = micro(images)
        assert_near(micro.to(CUDA)(images.to(CUDA)), expected)
    micro.to(CPU)


def test_a_whole_step_agrees(load_mini: Callable[..., LoadedProfile]) -> None:
    profile = load_mini("train.precision=fp32").profile
    losses, gradients, weights = [], [], []
    for device in (CPU, CUDA):
        model = open_model(profile, device).train()
        bench = open_workbench(profile, device, model)
        batch = bench.sampler(bench.splits.source_train, 2, seed=0).batch(0, 2).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        total = with_total(bench.reconstruction_loss()(model.forward_gaussians(batch.images), batch))["total"]
        total.backward()
        losses.append(total.item())
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).cpu())
        optimizer.step()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert_near(gradients[1], gradients[0])
    assert_near(weights[1], weights[0])
