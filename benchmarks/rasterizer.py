"""Time the rasterizer: ``python benchmarks/rasterizer.py [--device cpu] [--repeats 30]`` prints a markdown table.

Wall times are milliseconds for one object and four views, forward and forward + backward to all five attributes, as
median (minimum) of the repeats; read the minimum on a machine that does other work. CPU time is that of all threads;
without ``OMP_WAIT_POLICY=PASSIVE`` in the environment it includes torch's idle workers, which spin on the same cores.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geotrap_cli.cameras import Cameras, circle_cameras
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import rasterize

VIEWS = 4
GENERATED_OBJECTS = 16
#: Objects whose splats are put into one scene, to see the cost of many.
MERGED_OBJECTS = 4


@dataclass(frozen=True)
class Case:
    """Gaussians of one or more objects, timed one object at a time at one image size."""

    name: str
    batch: GaussianBatch
    pixels: int


@dataclass(frozen=True)
class Timing:
    """Wall times in ms of every repeat, and the least CPU time in ms of one forward + backward."""

    forward: list[float]
    both: list[float]
    cpu: float


def surface(count: int) -> GaussianBatch:
    """Flat opaque splats that tile a sphere of radius 0.5: what a trained generator makes."""
    generator = torch.Generator().manual_seed(0)
    normals = F.normalize(torch.randn(1, count, 3, generator=generator), dim=-1)
    # The rotation from the z axis to a normal n is the quaternion (1 + n_z, z cross n).
    flat = torch.stack((1 + normals[..., 2], -normals[..., 1], normals[..., 0], torch.zeros(1, count)), dim=-1)
    spacing = math.sqrt(math.pi / count)
    jitter = 0.7 + 0.6 * torch.rand(1, count, 1, generator=generator)
    scales = 0.6 * spacing * jitter * torch.tensor([1.0, 1.0, 0.1])
    opacities = 0.5 + 0.49 * torch.rand(1, count, 1, generator=generator)
    return _pack(0.5 * normals, opacities, scales, F.normalize(flat, dim=-1), generator)


def blob(count: int, opacity: float) -> GaussianBatch:
    """Fat splats all over a cube, as an untrained generator makes them; the fainter, the more of them are blended."""
    generator = torch.Generator().manual_seed(0)
    means = 1.2 * torch.rand(1, count, 3, generator=generator) - 0.6
    scales = 0.1 * F.softplus(0.3 * torch.randn(1, count, 3, generator=generator))
    quats = F.normalize(torch.randn(1, count, 4, generator=generator), dim=-1)
    return _pack(means, torch.full((1, count, 1), opacity), scales, quats, generator)


def _pack(means: Tensor, opacities: Tensor, scales: Tensor, quats: Tensor, generator: torch.Generator) -> GaussianBatch:
    rgb = torch.rand(means.shape, generator=generator)
    return GaussianBatch(torch.cat((means, opacities, scales, quats, rgb), dim=-1))


def generated() -> GaussianBatch | None:
    """Gaussians that the shipped nano weights make of held-out procedural objects; None where none are shipped."""
    from geotrap_cli.data.procedural.dataset import ProceduralDataset
    from geotrap_cli.data.splits import split_objects
    from geotrap_cli.data.views import evaluation_batches
    from geotrap_cli.models.loading import load_generator

    try:
        model = load_generator("nano", "shipped")
    except UsageError:
        return None
    dataset = ProceduralDataset()
    splits = split_objects(dataset.records, dataset.default_target, dataset.default_benign, seed=0)
    # Objects are sorted by category: a stride takes them from many.
    ids = splits.source_eval[:: len(splits.source_eval) // GENERATED_OBJECTS][:GENERATED_OBJECTS]
    (views,) = evaluation_batches(dataset, ids, model.input_size, 64, 1, len(ids), seed=0)
    with torch.no_grad():
        return model.forward_gaussians(views.images).detach()


def cases() -> Iterator[Case]:
    """The table's rows."""
    nano = generated()
    if nano is not None:
        yield Case(f"nano, {len(nano)} objects", nano, 64)
        four = GaussianBatch(nano.activated.unflatten(0, (-1, MERGED_OBJECTS)).flatten(1, 2))
        yield Case(f"nano, {len(nano)} objects, {MERGED_OBJECTS} at a time in one scene", four, 128)
    for count, pixels in ((4096, 64), (16384, 128), (65536, 256)):
        yield Case("surface", surface(count), pixels)
    for opacity in (0.5, 0.02):
        for count, pixels in ((4096, 64), (16384, 128)):
            yield Case(f"blob, opacity {opacity}", blob(count, opacity), pixels)


def cameras(pixels: int) -> Cameras:
    """Four views around the object, LGM's field of view."""
    circle = circle_cameras(VIEWS, pixels, 0.0, torch.device("cpu"))
    return Cameras(circle.viewmats[None], circle.Ks[None], pixels, pixels)


def measure(case: Case, device: torch.device, repeats: int) -> Timing:
    """Time the objects of a case in turn, after one unrecorded pass."""
    views = cameras(case.pixels).to(device)
    batch = case.batch.to(device)
    runs = [_run(batch[repeat % len(batch)], views) for repeat in range(repeats + 1)][1:]
    return Timing([run[0] for run in runs], [run[1] for run in runs], min(run[2] for run in runs))


def _run(gaussians: GaussianBatch, views: Cameras) -> tuple[float, float, float]:
    names = ("means", "quats", "scales", "opacities", "rgb")
    leaves = {name: getattr(gaussians, name).clone().requires_grad_() for name in names}

    def forward() -> tuple[Tensor, Tensor]:
        return rasterize(**leaves, viewmats=views.viewmats, Ks=views.Ks, width=views.width, height=views.height)

    def both() -> None:
        rgb, alpha = forward()
        torch.autograd.backward((rgb, alpha), (torch.ones_like(rgb), torch.ones_like(alpha)))

    with torch.no_grad():
        forward_time, _ = _timed(forward, views.Ks.device)
    return forward_time, *_timed(both, views.Ks.device)


def _timed(function: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def main() -> None:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    print(f"{options.device}, {torch.get_num_threads()} threads, {options.repeats} repeats\n")
    print("| case | Gaussians @ pixels | forward, ms | forward + backward, ms | CPU time, ms |")
    print("|---|---|---|---|---|")
    for case in cases():
        timing = measure(case, options.device, options.repeats)
        forward, both = (
            f"{statistics.median(times):.1f} ({min(times):.1f})" for times in (timing.forward, timing.both)
        )
        size = f"{case.batch.num_gaussians} @ {case.pixels}"
        print(f"| {case.name} | {size} | {forward} | {both} | {timing.cpu:.1f} |", flush=True)


if __name__ == "__main__":
    main()
