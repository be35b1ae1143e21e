"""The CUDA back end: against the CPU where there is a GPU, and its errors and arguments where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from geotrap_cli.errors import GeotrapError
from geotrap_cli.render.base import FAR, NEAR, Splats
from geotrap_cli.render.cpu import rasterize_cpu
from geotrap_cli.render.cuda import rasterize_cuda


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cpu_and_cuda_agree(scene: Callable[..., Splats], differentiate: Callable) -> None:
    splats = Splats(*(value.float() for value in scene(2000, batch=2, views=3, width=64, height=48, size=0.05)))
    rgb, alpha, gradients = differentiate(rasterize_cpu, splats, 64, 48)
    moved = Splats(*(value.cuda() for value in splats))
    cuda_rgb, cuda_alpha, cuda_gradients = differentiate(rasterize_cuda, moved, 64, 48)
    for ours, theirs in ((rgb, cuda_rgb.cpu()), (alpha, cuda_alpha.cpu())):
        gap = (ours - theirs).abs()
        assert float(gap.mean()) <= 1e-6
        assert float((gap <= 1e-4).float().mean()) >= 0.999
        assert float((gap > 5e-3).float().mean()) <= 1e-4
    for ours, theirs in zip(gradients, (gradient.cpu() for gradient in cuda_gradients), strict=True):
        assert float((ours - theirs).norm() / ours.norm()) <= 5e-3
        assert float(torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)) >= 0.9999


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device_is_an_error(scene: Callable[..., Splats]) -> None:
    with pytest.raises(GeotrapError, match="needs a CUDA device"):
        rasterize_cuda(scene(), 19, 13, NEAR, FAR)


def test_a_missing_gsplat_is_an_error_that_names_the_extra(
    scene: Callable[..., Splats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(GeotrapError, match=r'pip install "geotrap\[cuda\]"'):
        rasterize_cuda(scene(), 19, 13, NEAR, FAR)


def _pretend_gsplat(monkeypatch: pytest.MonkeyPatch, compiled: object, calls: list[dict[str, Any]]) -> None:
    def rasterization(**arguments: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        calls.append(arguments)
        shape = (*arguments["viewmats"].shape[:2], arguments["height"], arguments["width"])
        return torch.zeros(*shape, 3), torch.zeros(*shape, 1), {}

    package, cuda, backend = ModuleType("gsplat"), ModuleType("gsplat.cuda"), ModuleType("gsplat.cuda._backend")
    package.rasterization, backend._C = rasterization, compiled  # type: ignore[attr-defined]
    for module in (package, cuda, backend):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_gsplat_without_kernels_is_an_error(scene: Callable[..., Splats], monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_gsplat(monkeypatch, None, [])
    with pytest.raises(GeotrapError, match="no CUDA toolkit"):
        rasterize_cuda(scene(), 19, 13, NEAR, FAR)


def test_gsplat_is_asked_for_the_shared_rules(scene: Callable[..., Splats], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    _pretend_gsplat(monkeypatch, object(), calls)
    splats = scene(batch=2, views=3)
    rgb, alpha = rasterize_cuda(splats, 19, 13, NEAR, FAR)
    assert rgb.shape == (2, 3, 13, 19, 3)
    assert alpha.shape == (2, 3, 13, 19)
    (call,) = calls
    assert (call["near_plane"], call["far_plane"], call["eps2d"], call["packed"]) == (0.2, 1e10, 0.3, False)
    assert torch.equal(call["opacities"], splats.opacities)
    assert torch.equal(call["colors"], splats.rgb)
