from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation import metrics

SIZE = 64
ERROR = 0.2
ERROR_DB = -20 * math.log10(ERROR)


@pytest.fixture
def view() -> tuple[torch.Tensor, torch.Tensor]:
    """One white view with a grey square of 20 x 12 pixels, and its alpha."""
    alpha = torch.zeros(1, SIZE, SIZE)
    alpha[:, 10:30, 40:52] = 1.0
    return 1.0 - 0.5 * alpha[..., None].expand(1, SIZE, SIZE, 3), alpha


def test_error_on_the_object_reads_as_it_is(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    rgb = gt + ERROR * alpha[..., None]
    assert metrics.foreground_psnr(rgb, gt, alpha, dilate=0).item() == pytest.approx(ERROR_DB, abs=1e-4)
    share = alpha.mean().item()
    assert metrics.whole_psnr(rgb, gt).item() == pytest.approx(ERROR_DB - 10 * math.log10(share), abs=1e-4)


def test_foreground_margin_counts_exactly_its_pixels(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    rgb = gt + ERROR * alpha[..., None]
    expected = ERROR_DB - 10 * math.log10(20 * 12 / (24 * 16))
    assert metrics.foreground_psnr(rgb, gt, alpha).item() == pytest.approx(expected, abs=1e-4)


def test_error_far_from_the_object_is_invisible_to_foreground_psnr(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    far = ~metrics.foreground_region(alpha)
    rgb = gt - ERROR * far[..., None]
    assert metrics.foreground_psnr(rgb, gt, alpha).item() == math.inf
    assert metrics.whole_psnr(rgb, gt).item() < 15


def test_dilation_is_a_square_that_stops_at_the_border() -> None:
    alpha = torch.zeros(9, 9)
    alpha[0, 4] = 1 / 255
    region = metrics.foreground_region(alpha, dilate=2)
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[0:3, 2:7] = True
    assert torch.equal(region, expected)


def test_swapped_channels_read_as_an_error() -> None:
    gt = torch.zeros(1, SIZE, SIZE, 3)
    gt[..., 0] = 1.0
    alpha = torch.ones(1, SIZE, SIZE)
    # Red against blue: two of three channels are wrong by 1.
    assert metrics.foreground_psnr(gt.flip(-1), gt, alpha).item() == pytest.approx(-10 * math.log10(2 / 3), abs=1e-5)


def test_channel_first_images_are_refused(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    first = gt.movedim(-1, 1)
    for call in (
        lambda: metrics.foreground_psnr(first, first, alpha),
        lambda: metrics.whole_psnr(first, first),
        lambda: metrics.ssim(first, first),
    ):
        with pytest.raises(GeotrapError, match="channel-last"):
            call()


def test_mask_belongs_to_pixels_and_not_to_flat_memory() -> None:
    """A flattened channel-first image met the wrong pixels and read 23.5 dB where 14.0 was right."""
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(2, 3, SIZE, SIZE, 3, generator=generator)
    alpha = (torch.rand(2, 3, SIZE, SIZE, generator=generator) > 0.95).float()
    rgb = gt + ERROR * alpha[..., None]
    values = metrics.foreground_psnr(rgb, gt, alpha, dilate=0)
    assert values.shape == (2, 3)
    torch.testing.assert_close(values, torch.full((2, 3), ERROR_DB), atol=1e-3, rtol=0)


def test_identical_images_score_infinity_and_one(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    assert metrics.whole_psnr(gt, gt).item() == math.inf
    assert metrics.foreground_psnr(gt, gt, alpha).item() == math.inf
    assert metrics.ssim(gt, gt).item() == pytest.approx(1.0, abs=1e-6)
    assert metrics.alpha_iou(alpha, alpha).item() == 1.0


def test_white_floor_of_a_known_grey(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    assert metrics.white_floor(gt, alpha, dilate=0).item() == pytest.approx(-20 * math.log10(0.5), abs=1e-4)
    # The same blank image looks respectable over all pixels: the reason for a foreground metric.
    assert metrics.whole_psnr(torch.ones_like(gt), gt).item() > 18


def test_views_without_foreground_are_undefined_and_left_out() -> None:
    gt = torch.rand(2, SIZE, SIZE, 3)
    alpha = torch.zeros(2, SIZE, SIZE)
    alpha[1] = 1.0
    values = metrics.foreground_psnr(gt + ERROR, gt, alpha)
    assert math.isnan(values[0])
    assert metrics.defined_mean(values) == pytest.approx(ERROR_DB, abs=1e-4)
    assert math.isnan(metrics.defined_mean(values[:1]))
    assert math.isnan(metrics.alpha_iou(alpha, alpha)[0])


def test_mean_keeps_infinity() -> None:
    assert metrics.defined_mean(torch.tensor([20.0, math.inf])) == math.inf


def test_nan_pixels_stay_nan(view: tuple[torch.Tensor, torch.Tensor]) -> None:
    gt, alpha = view
    rgb = gt.clone()
    rgb[0, 15, 45, 1] = math.nan
    assert math.isnan(metrics.foreground_psnr(rgb, gt, alpha))
    assert math.isnan(metrics.whole_psnr(rgb, gt))


def test_alpha_iou_of_two_overlapping_squares() -> None:
    alpha, truth = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    alpha[:, 0:4, 0:4] = 0.9
    truth[:, 2:6, 0:4] = 1.0
    assert metrics.alpha_iou(alpha, truth).item() == pytest.approx(8 / 24)


def test_ssim_matches_its_definition_on_one_window() -> None:
    """Direct float64 sum over the only window position of an 11 x 11 image."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(2, 11, 11, 3, generator=generator, dtype=torch.float64)
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2
    expected = []
    for channel in range(3):
        x, y = a[..., channel], b[..., channel]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
        cov = (window * x * y).sum() - mx * my
        expected.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    value = metrics.ssim(a, b)
    assert value.shape == ()
    assert value.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-6)


def test_ssim_is_per_view_and_keeps_the_leading_shape() -> None:
    generator = torch.Generator().manual_seed(2)
    gt = torch.rand(2, 3, SIZE, SIZE, 3, generator=generator)
    rgb = gt.clone()
    rgb[1, 2] = 1.0 - rgb[1, 2]
    values = metrics.ssim(rgb, gt)
    assert values.shape == (2, 3)
    assert values[1, 2] < 0.1
    assert (values.flatten()[:5] > 0.999).all()


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(GeotrapError, match="11 x 11"):
        metrics.ssim(torch.rand(10, 64, 3), torch.rand(10, 64, 3))


@pytest.mark.parametrize(
    ("rgb", "gt", "alpha"),
    [((4, 4, 3), (5, 4, 3), (5, 4)), ((4, 4, 3), (4, 4, 3), (4, 5)), ((4, 4, 3), (4, 4, 3), (1, 4, 4))],
)
def test_shapes_that_do_not_fit_are_refused(rgb: tuple[int, ...], gt: tuple[int, ...], alpha: tuple[int, ...]) -> None:
    with pytest.raises(GeotrapError):
        metrics.foreground_psnr(torch.rand(rgb), torch.rand(gt), torch.rand(alpha))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0.01, 0.5))
def test_foreground_psnr_of_a_constant_error_does_not_depend_on_the_silhouette(seed: int, error: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(12, 12, 3, generator=generator, dtype=torch.float64)
    alpha = (torch.rand(12, 12, generator=generator) > 0.8).double()
    alpha[3, 3] = 1.0
    value = metrics.foreground_psnr(gt + error, gt, alpha).item()
    assert value == pytest.approx(-20 * math.log10(error), abs=1e-6)
