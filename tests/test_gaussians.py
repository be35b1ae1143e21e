"""The channel layout and the activations, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, NUM_CHANNELS, GaussianBatch, activate


def raw_batch(objects: int = 2, count: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(objects, count, NUM_CHANNELS, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2


def test_the_channels_cover_every_number_once() -> None:
    covered = [i for part in CHANNELS.values() for i in range(part.start, part.stop)]
    assert covered == list(range(NUM_CHANNELS))
    assert list(CHANNELS) == ["means", "opacities", "scales", "quats", "rgb"]


def test_activations_of_one_gaussian_by_hand() -> None:
    raw = torch.tensor([[[0.5, -3.0, 3.0, math.log(3.0), 0.0, math.log(math.e - 1), -40.0, 0, 3, 0, 4, 0.0, 40, -40]]])
    gaussians = activate(raw)
    assert gaussians.means.tolist() == [[[0.5, -1.0, 1.0]]]
    assert gaussians.opacities.item() == pytest.approx(0.75)
    torch.testing.assert_close(gaussians.scales, torch.tensor([[[0.1 * math.log(2), 0.1, 0.0]]]))
    torch.testing.assert_close(gaussians.quats, torch.tensor([[[0.0, 0.6, 0.0, 0.8]]]))
    torch.testing.assert_close(gaussians.rgb, torch.tensor([[[0.5, 1.0, 0.0]]]))


def test_each_quaternion_is_normalised_by_itself() -> None:
    raw = raw_batch()
    alone = torch.cat([activate(raw[:, i : i + 1]).quats for i in range(raw.shape[1])], dim=1)
    torch.testing.assert_close(activate(raw).quats, alone, rtol=0, atol=0)
    torch.testing.assert_close(activate(raw).quats.norm(dim=-1), torch.ones(2, 5))


def test_named_shapes() -> None:
    gaussians = activate(raw_batch(3, 7))
    assert (len(gaussians), gaussians.num_gaussians) == (3, 7)
    assert gaussians.opacities.shape == (3, 7)
    widths = {name: gaussians.attribute(name).shape[-1] for name in CHANNELS}
    assert widths == {"means": 3, "opacities": 1, "scales": 3, "quats": 4, "rgb": 3}
    joined = torch.cat([gaussians.attribute(name) for name in CHANNELS], dim=-1)
    assert torch.equal(joined, gaussians.activated)


@pytest.mark.parametrize(
    ("given_dtype", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_raised_and_double_is_kept(given_dtype: torch.dtype, kept: torch.dtype) -> None:
    assert activate(raw_batch().to(given_dtype)).activated.dtype == kept


def test_gradients_reach_the_raw_values_through_every_view() -> None:
    raw = raw_batch(1, 3, torch.float64).clamp(-0.9, 0.9).requires_grad_()
    for name in CHANNELS:
        assert torch.autograd.gradcheck(lambda values, name=name: activate(values).attribute(name), (raw,))


def test_means_outside_the_cube_have_no_gradient() -> None:
    raw = torch.zeros(1, 1, NUM_CHANNELS)
    raw[..., 0] = 2.0
    raw.requires_grad_()
    activate(raw).means.sum().backward()
    assert raw.grad is not None
    assert raw.grad[0, 0, :3].tolist() == [0.0, 1.0, 1.0]


def test_degenerate_outputs_stay_finite() -> None:
    raw = torch.zeros(1, 2, NUM_CHANNELS, requires_grad=True)
    gaussians = activate(raw * 1.0)
    gaussians.activated.sum().backward()
    assert gaussians.activated.isfinite().all()
    assert raw.grad is not None and raw.grad.isfinite().all()


def test_nan_stays_nan() -> None:
    assert activate(torch.full((1, 1, NUM_CHANNELS), math.nan)).activated.isnan().all()


def test_raw_is_required_by_name() -> None:
    gaussians = activate(raw_batch())
    assert gaussians.require_raw() is gaussians.raw
    with pytest.raises(GeotrapError, match="no pre-activation values"):
        GaussianBatch(gaussians.activated).require_raw()


def test_indexing_keeps_a_batch() -> None:
    gaussians = activate(raw_batch(4))
    assert torch.equal(gaussians[2].activated, gaussians.activated[2:3])
    assert len(gaussians[1:3]) == 2
    chosen = gaussians[torch.tensor([3, 0])]
    assert torch.equal(chosen.require_raw(), gaussians.require_raw()[[3, 0]])
    assert [len(item) for item in gaussians] == [1, 1, 1, 1]


def test_detach_and_to_act_on_both_tensors() -> None:
    gaussians = activate(raw_batch().requires_grad_())
    detached = gaussians.detach().to(torch.float64)
    assert gaussians.activated.requires_grad and not detached.activated.requires_grad
    assert not detached.require_raw().requires_grad
    assert detached.activated.dtype == detached.require_raw().dtype == torch.float64


@pytest.mark.parametrize("shape", [(5, 14), (1, 5, 13), (1, 1, 5, 14)])
def test_another_layout_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        GaussianBatch(torch.zeros(shape))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=NUM_CHANNELS, max_size=NUM_CHANNELS))
def test_every_finite_output_gives_a_legal_gaussian(values: list[float]) -> None:
    gaussians = activate(torch.tensor(values)[None, None])
    assert gaussians.means.abs().max() <= 1
    assert 0 <= gaussians.opacities.item() <= 1
    assert gaussians.scales.min() >= 0
    assert gaussians.rgb.min() >= 0 and gaussians.rgb.max() <= 1
    assert gaussians.quats.norm() <= 1 + 1e-6
