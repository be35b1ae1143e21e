"""Random scenes, and one way to run any back end with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from geotrap_cli.cameras import intrinsics_from_fov, orbit_viewmats
from geotrap_cli.render.base import FAR, NEAR, Rasterizer, Splats


def build_splats(
    count: int = 24,
    batch: int = 1,
    views: int = 1,
    width: int = 19,
    height: int = 13,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    spread: float = 0.7,
    size: float = 0.1,
) -> Splats:
    """Gaussians in a cube of half-width `spread` with scales up to `size`, seen by cameras on a ring."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, count, *shape, generator=generator, dtype=dtype)

    viewmats = orbit_viewmats(10.0, torch.arange(views) * 360.0 / max(views, 1)).to(dtype)
    K = intrinsics_from_fov(math.radians(49.1), width, height).to(dtype)
    return Splats(
        means=(2 * uniform(3) - 1) * spread,
        quats=torch.randn(batch, count, 4, generator=generator, dtype=dtype),
        scales=uniform(3) * size,
        opacities=uniform(),
        rgb=uniform(3),
        viewmats=viewmats.expand(batch, views, 4, 4).clone(),
        Ks=K.expand(batch, views, 3, 3).clone(),
    )


def build_splat(x: float = 0.0, y: float = 0.0, z: float = 2.0, opacity: float = 0.5, **changes: Tensor) -> Splats:
    """One round splat of variance 4/15 at a place in camera space, seen by a 9x9 camera of focal length 9."""
    splat = Splats(
        means=torch.tensor([[[x, y, z]]], dtype=torch.float64),
        quats=torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64),
        scales=torch.full((1, 1, 3), 0.2, dtype=torch.float64),
        opacities=torch.tensor([[opacity]], dtype=torch.float64),
        rgb=torch.tensor([[[0.2, 0.5, 0.8]]], dtype=torch.float64),
        viewmats=torch.eye(4, dtype=torch.float64).reshape(1, 1, 4, 4),
        Ks=torch.tensor([[[[9.0, 0.0, 4.5], [0.0, 9.0, 4.5], [0.0, 0.0, 1.0]]]], dtype=torch.float64),
    )
    return splat._replace(**changes)


def stack_splats(*splats: Splats) -> Splats:
    """Several `build_splat`s as one object before the camera of the first."""
    joined = [torch.cat([splat[i] for splat in splats], dim=1) for i in range(5)]
    return Splats._make([*joined, splats[0].viewmats, splats[0].Ks])


def run_with_gradients(
    backend: Rasterizer, splats: Splats, width: int, height: int, seed: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Image, alpha, and the gradients of a random linear function of both to means, quats, scales, opacities, rgb."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [value.detach().clone().requires_grad_() for value in splats[:5]]
    rgb, alpha = backend(Splats._make([*leaves, splats.viewmats, splats.Ks]), width, height, NEAR, FAR)
    weights = torch.randn(*alpha.shape, 4, generator=generator, dtype=torch.float64).to(alpha)
    ((rgb * weights[..., :3]).sum() + (alpha * weights[..., 3]).sum()).backward()
    return rgb.detach(), alpha.detach(), [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


@pytest.fixture(scope="session")
def scene() -> Callable[..., Splats]:
    return build_splats


@pytest.fixture(scope="session")
def one() -> Callable[..., Splats]:
    return build_splat


@pytest.fixture(scope="session")
def stack() -> Callable[..., Splats]:
    return stack_splats


@pytest.fixture(scope="session")
def differentiate() -> Callable[..., tuple[Tensor, Tensor, list[Tensor]]]:
    return run_with_gradients


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """`torch.set_num_threads`, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
