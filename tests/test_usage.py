"""What a computation uses: pixels are counted where they are rendered, and parts add up."""

from __future__ import annotations

import pytest
import torch

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import render
from geotrap_cli.usage import Usage, UsageMeter, peak_memory, total_usage

CPU = torch.device("cpu")


def draw(objects: int, views: int, width: int, height: int) -> None:
    K = intrinsics_from_fov(0.8, width, height)
    cameras = Cameras(orbit_viewmats(0.0, torch.arange(views) * 90.0), K.expand(views, 3, 3), width, height)
    gaussians = torch.rand(objects, 5, 14, generator=torch.Generator().manual_seed(0))
    render(GaussianBatch(gaussians), cameras)


def test_pixels_are_counted_inside_only_and_over_all_processes() -> None:
    alone, three = UsageMeter(CPU), UsageMeter(CPU, processes=3, pixels=1000)
    draw(1, 1, 8, 8)
    with alone.watching():
        draw(2, 3, 16, 8)
        with three.watching():
            draw(1, 2, 4, 4)
    draw(1, 1, 8, 8)
    assert alone.pixels == 2 * 3 * 16 * 8 + 2 * 4 * 4
    assert three.pixels == 1000 + 3 * 2 * 4 * 4


def test_time_goes_on_from_before_an_interruption() -> None:
    assert 100.0 <= UsageMeter(CPU, seconds=100.0).so_far(1).seconds < 101.0


def test_what_a_cpu_uses_is_no_gpu_time() -> None:
    used = UsageMeter(CPU, processes=2).so_far(6)
    assert (used.samples, used.gpus, used.gpu_hours) == (6, 0, 0.0)


def test_peak_memory_never_falls() -> None:
    before = peak_memory(CPU)
    block = torch.ones(2**24)
    after = peak_memory(CPU)
    del block
    # More than Python and torch alone, in bytes and not in KiB.
    assert 2**26 < before <= after == peak_memory(CPU)


def test_derived_figures() -> None:
    used = Usage(seconds=1800.0, samples=900, rendered_pixels=5, peak_memory=7, gpus=4)
    assert used.payload() == {
        "seconds": 1800.0,
        "samples": 900,
        "rendered_pixels": 5,
        "peak_memory": 7,
        "gpus": 4,
        "samples_per_second": 0.5,
        "gpu_hours": 2.0,
    }
    assert Usage(0.0, 0, 0, 0, 0).samples_per_second is None


def test_parts_one_after_the_other_add_up_but_for_what_is_a_maximum() -> None:
    parts = [Usage(1.0, 2, 3, 40, 1), Usage(10.0, 20, 30, 4, 1)]
    assert total_usage(iter(parts)) == Usage(11.0, 22, 33, 40, 1)
    assert total_usage([]) is None


@pytest.mark.parametrize("fails", [True, False])
def test_counting_ends_with_the_block(fails: bool) -> None:
    meter = UsageMeter(CPU)
    with pytest.raises(RuntimeError) if fails else meter.watching():
        if fails:
            with meter.watching():
                raise RuntimeError
    draw(1, 1, 8, 8)
    assert meter.pixels == 0
