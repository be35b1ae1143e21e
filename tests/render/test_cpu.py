"""The CPU back end against the dense reference, and its behaviour as a torch function."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.render.base import FAR, NEAR, Splats
from geotrap_cli.render.cpu import rasterize_cpu
from geotrap_cli.render.dense import rasterize_dense

Differentiate = Callable[..., tuple[Tensor, Tensor, list[Tensor]]]
ATTRIBUTES = ("means", "quats", "scales", "opacities", "rgb")


def _assert_agree(
    differentiate: Differentiate, splats: Splats, width: int, height: int, relative: float = 1e-9
) -> None:
    ours = differentiate(rasterize_cpu, splats, width, height)
    expected = differentiate(rasterize_dense, splats, width, height)
    torch.testing.assert_close(ours[0], expected[0], atol=relative, rtol=0)
    torch.testing.assert_close(ours[1], expected[1], atol=relative, rtol=0)
    for name, gradient, reference in zip(ATTRIBUTES, ours[2], expected[2], strict=True):
        limit = relative * (1.0 + float(reference.abs().max()) if reference.numel() else 1.0)
        assert float((gradient - reference).abs().max() if gradient.numel() else 0.0) <= limit, name


@given(
    seed=st.integers(0, 2**16),
    count=st.integers(0, 30),
    width=st.integers(1, 20),
    height=st.integers(1, 12),
    size=st.sampled_from([0.02, 0.1, 0.5]),
    spread=st.sampled_from([0.3, 0.9, 2.5]),
)
@settings(max_examples=30, deadline=None)
def test_any_scene_agrees_with_the_reference(
    scene: Callable[..., Splats],
    differentiate: Differentiate,
    seed: int,
    count: int,
    width: int,
    height: int,
    size: float,
    spread: float,
) -> None:
    # spread 2.5 puts splats behind the camera and far outside the image, where the Jacobian is clamped.
    splats = scene(count, width=width, height=height, seed=seed, size=size, spread=spread)
    _assert_agree(differentiate, splats, width, height)


def test_many_objects_and_views_agree_with_the_reference(
    scene: Callable[..., Splats], differentiate: Differentiate
) -> None:
    _assert_agree(differentiate, scene(40, batch=3, views=4), 19, 13)


def test_opaque_crowds_stop_as_the_reference_does(scene: Callable[..., Splats], differentiate: Differentiate) -> None:
    splats = scene(80, size=0.5)
    opaque = splats._replace(opacities=0.9 + 0.1 * splats.opacities)
    assert float(rasterize_cpu(opaque, 19, 13, NEAR, FAR)[1].min()) > 0.99
    _assert_agree(differentiate, opaque, 19, 13)


def test_single_precision_is_close_to_the_reference(scene: Callable[..., Splats], differentiate: Differentiate) -> None:
    splats = scene(200, views=2)
    single = Splats(*(value.float() for value in splats))
    rgb, alpha, gradients = differentiate(rasterize_cpu, single, 19, 13)
    expected_rgb, expected_alpha, references = differentiate(rasterize_dense, splats, 19, 13)
    assert rgb.dtype == alpha.dtype == torch.float32
    torch.testing.assert_close(rgb.double(), expected_rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(alpha.double(), expected_alpha, atol=1e-5, rtol=0)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient.double(), reference, atol=1e-5 * float(reference.abs().max()), rtol=0)


def test_gradients_agree_with_finite_differences(scene: Callable[..., Splats]) -> None:
    splats = scene(5, batch=2, views=2, width=9, height=7, size=0.3)
    leaves = [value.clone().requires_grad_() for value in splats[:5]]
    assert torch.autograd.gradcheck(
        lambda *five: rasterize_cpu(Splats._make([*five, splats.viewmats, splats.Ks]), 9, 7, NEAR, FAR), leaves
    )


def test_a_clamped_jacobian_agrees_with_finite_differences(one: Callable[..., Splats]) -> None:
    # The centre lies beyond the margin of the image in x and y, yet the splat reaches into it.
    splats = one(x=2.2, y=-2.3, z=2.0, opacity=0.9, scales=torch.tensor([[[0.9, 1.1, 1.0]]]).double())
    assert rasterize_cpu(splats, 9, 9, NEAR, FAR)[1].any()
    leaves = [value.clone().requires_grad_() for value in splats[:5]]
    assert torch.autograd.gradcheck(
        lambda *five: rasterize_cpu(Splats._make([*five, splats.viewmats, splats.Ks]), 9, 9, NEAR, FAR), leaves
    )


def test_capped_alpha_has_no_gradient(one: Callable[..., Splats], differentiate: Differentiate) -> None:
    splats = one(opacity=1.0)
    centred = splats._replace(Ks=splats.Ks - torch.tensor([[0, 0, 4.0], [0, 0, 4.0], [0, 0, 0]]).double())
    _, alpha, gradients = differentiate(rasterize_cpu, centred, 1, 1)
    assert alpha.item() == pytest.approx(0.999)
    assert all(not gradient.any() for gradient in gradients[:4])
    assert gradients[4].all()


def test_hidden_splats_have_no_gradient(one: Callable, stack: Callable, differentiate: Differentiate) -> None:
    splats = one(opacity=1.0)
    centred = splats._replace(Ks=splats.Ks - torch.tensor([[0, 0, 4.0], [0, 0, 4.0], [0, 0, 0]]).double())
    hidden = one(z=3.0, opacity=1.0)
    _, _, gradients = differentiate(rasterize_cpu, stack(centred, hidden), 1, 1)
    assert all(not gradient[0, 1].any() for gradient in gradients)


@pytest.mark.parametrize(
    ("attribute", "value"), [("quats", [0.0, 0.0, 0.0, 0.0]), ("scales", [1e15, 1e15, 1e15]), ("scales", [3e37, 0, 0])]
)
def test_degenerate_splats_are_culled(
    one: Callable[..., Splats], differentiate: Differentiate, attribute: str, value: list[float]
) -> None:
    splats = one(**{attribute: torch.tensor([[value]]).double()})
    for dtype in (torch.float32, torch.float64):
        cast = Splats(*(tensor.to(dtype) for tensor in splats))
        _, alpha, gradients = differentiate(rasterize_cpu, cast, 9, 9)
        assert not alpha.any()
        assert all(not gradient.any() for gradient in gradients)


def test_zero_scales_agree_with_the_reference(scene: Callable[..., Splats], differentiate: Differentiate) -> None:
    splats = scene()
    flat = splats.scales * torch.tensor([1.0, 1.0, 0.0]).double()
    _assert_agree(differentiate, splats._replace(scales=flat), 19, 13)
    _assert_agree(differentiate, splats._replace(scales=torch.zeros_like(flat)), 19, 13)


def test_needles_and_walls_keep_single_precision(scene: Callable[..., Splats], differentiate: Differentiate) -> None:
    splats = scene(12)
    for stretch in ([300.0, 1e-3, 1e-3], [300.0, 300.0, 1e-3]):
        stretched = splats._replace(scales=splats.scales * torch.tensor(stretch).double())
        single = Splats(*(value.float() for value in stretched))
        rgb, alpha, gradients = differentiate(rasterize_cpu, single, 19, 13)
        expected, expected_alpha, _ = differentiate(rasterize_dense, stretched, 19, 13)
        torch.testing.assert_close(rgb.double(), expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(alpha.double(), expected_alpha, atol=1e-3, rtol=0)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_results_repeat_bit_by_bit_at_any_number_of_threads(
    scene: Callable[..., Splats], differentiate: Differentiate, threads: Callable[[int], None]
) -> None:
    splats = Splats(*(value.float() for value in scene(300, batch=2, views=3)))
    results = []
    for count in (1, 2, 2, 3):
        threads(count)
        rgb, alpha, gradients = differentiate(rasterize_cpu, splats, 19, 13)
        results.append((rgb, alpha, *gradients))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_objects_and_views_do_not_mix(scene: Callable[..., Splats]) -> None:
    splats = scene(30, batch=2, views=3)
    rgb, alpha = rasterize_cpu(splats, 19, 13, NEAR, FAR)
    alone = Splats(*(value[1:2] for value in splats))
    alone = alone._replace(viewmats=alone.viewmats[:, 2:], Ks=alone.Ks[:, 2:])
    single_rgb, single_alpha = rasterize_cpu(alone, 19, 13, NEAR, FAR)
    assert torch.equal(rgb[1:, 2:], single_rgb)
    assert torch.equal(alpha[1:, 2:], single_alpha)


def test_a_retained_graph_gives_the_same_gradient_twice(scene: Callable[..., Splats]) -> None:
    splats = scene()
    means = splats.means.clone().requires_grad_()
    rgb, _ = rasterize_cpu(splats._replace(means=means), 19, 13, NEAR, FAR)
    (first,) = torch.autograd.grad(rgb.sum(), means, retain_graph=True)
    (second,) = torch.autograd.grad(rgb.sum(), means)
    assert torch.equal(first, second)


def test_splats_changed_in_place_before_backward_are_an_error(scene: Callable[..., Splats]) -> None:
    splats = scene()
    means = splats.means.clone().requires_grad_()
    shifted = means + 0.0
    rgb, _ = rasterize_cpu(splats._replace(means=shifted), 19, 13, NEAR, FAR)
    shifted.detach().add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rgb.sum().backward()


def test_more_gaussians_than_positions_can_count_are_an_error() -> None:
    def empty(*shape: int) -> Tensor:
        return torch.empty(1).expand(1, 2**24 + 1, *shape)

    cameras = torch.eye(4).expand(1, 1, 4, 4), torch.eye(3).expand(1, 1, 3, 3)
    with pytest.raises(GeotrapError, match="16777217 Gaussians"):
        rasterize_cpu(Splats(empty(3), empty(4), empty(3), empty(), empty(3), *cameras), 8, 8, NEAR, FAR)


def test_attributes_without_gradient_get_none(scene: Callable[..., Splats]) -> None:
    splats = scene()
    opacities = splats.opacities.clone().requires_grad_()
    _, alpha = rasterize_cpu(splats._replace(opacities=opacities), 19, 13, NEAR, FAR)
    alpha.sum().backward()
    assert opacities.grad is not None
    assert opacities.grad.any()
    assert splats.means.grad is None
    assert not rasterize_cpu(splats, 19, 13, NEAR, FAR)[0].requires_grad
