"""Time training steps: ``python benchmarks/step_time.py [--device auto] [--preset big] [--repeats 20] [--compile]``.

On a GPU: LGM-big, batches of 4 objects with 4 input and 8 supervised views at 512 pixels, losses of LGM's paper with an
LPIPS-VGG of random weights, in bf16, timed by CUDA events. On the CPU: nano at 64 pixels without LPIPS, and the script
says what it left out. An attack step is compared with one written as LGM's published code is: eager, one rasterizer
call for each object and view, unfused AdamW. Every part is timed on its own, backward passes included, by cutting the
graph where one part ends; each time is the median of the repeats, and the least. Beside it stand the operations and
bytes that the part cannot do without, and its least time in units of what they would take (``_floor.py``). With
``--compile`` the network alone and the attack step are timed once more with compiled blocks (``device.compile``), in
turn with the plain ones.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from _floor import ADAMW, Floor, Rates, Tally, measure_rates, size_of
from torch import Tensor, nn

from geotrap_cli.cameras import Cameras, circle_cameras
from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.data.batch import ViewBatch, generator_input
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.compiled import compile_blocks
from geotrap_cli.models.generator import GAUSSIAN_CHANNELS, GaussianGenerator
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.render import render
from geotrap_cli.training.distillation import distillation
from geotrap_cli.training.precision import autocast, pick_device, resolve_precision
from geotrap_cli.training.trap_set import load_trap
from geotrap_cli.usage import peak_memory

LPIPS_SIZE = 256
TRAPS = ("position", "opacity")
Floors = dict[str, Floor]
"""What each part of a step cannot do without, by its name."""


@dataclass
class Clock:
    """Times named parts of a step, by CUDA events or by the processor's clock.

    Attributes:
        device: Where the parts run.
        seconds: Times of each part, one for each step.
    """

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to the present step's part ``name``."""
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            end.synchronize()
            elapsed = 1e-3 * begin.elapsed_time(end)
        else:
            began = time.perf_counter()
            yield
            elapsed = time.perf_counter() - began
        self.seconds.setdefault(name, []).append(elapsed)


@dataclass(frozen=True)
class Setting:
    """What is timed.

    Attributes:
        preset: Size of LGM.
        objects: Objects of a batch.
        views: Supervised views.
        pixels: Side of the supervised images.
        perceptual: LPIPS with random weights; None: left out.
    """

    preset: str
    objects: int
    views: int
    pixels: int
    perceptual: Callable[[Tensor, Tensor], Tensor] | None


class RandomLpips(nn.Module):
    """LPIPS-VGG as LGM uses it, at 256 pixels, with a trunk of random weights: it costs what the trained one does."""

    def __init__(self) -> None:
        super().__init__()
        ensure_torchvision()
        import lpips

        self.net = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False)

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """Return one value for each pair of images ``[M, H, W, 3]``."""
        small = [
            F.interpolate(2 * x.movedim(-1, 1) - 1, (LPIPS_SIZE, LPIPS_SIZE), mode="bilinear") for x in (images, truth)
        ]
        return self.net(*small).flatten()


def make_batch(model: GaussianGenerator, setting: Setting) -> ViewBatch:
    """Random pictures in orbiting cameras, on the CPU, in pinned memory where there is a GPU."""
    random = torch.Generator().manual_seed(0)
    inputs = _orbit(setting.objects, model.num_views, model.input_size)
    cameras = _orbit(setting.objects, setting.views, setting.pixels)
    size, out = (model.input_size,) * 2, (setting.pixels,) * 2
    input_rgb = torch.rand(setting.objects, model.num_views, *size, 3, generator=random)
    batch = ViewBatch(
        images=generator_input(input_rgb, inputs),
        rgb=torch.rand(setting.objects, setting.views, *out, 3, generator=random),
        alpha=torch.rand(setting.objects, setting.views, *out, generator=random).round(),
        cameras=cameras,
        ids=[str(index) for index in range(setting.objects)],
        input_rgb=input_rgb,
        input_alpha=torch.ones(setting.objects, model.num_views, *size),
        input_cameras=inputs,
    )
    if not torch.cuda.is_available():
        return batch
    pinned = {name: getattr(batch, name).pin_memory() for name in ("images", "rgb", "alpha")}
    return ViewBatch(**{**vars(batch), **pinned})


def _orbit(objects: int, views: int, pixels: int) -> Cameras:
    circle = circle_cameras(views, pixels, 0.0, torch.device("cpu"))
    viewmats, Ks = (table.expand(objects, *table.shape) for table in (circle.viewmats, circle.Ks))
    return Cameras(viewmats, Ks, pixels, pixels)


def losses(rgb: Tensor, alpha: Tensor, batch: ViewBatch, setting: Setting) -> Tensor:
    """Return LGM's loss (its paper, section 3.4) of rendered images."""
    total = F.mse_loss(rgb, batch.rgb) + F.mse_loss(alpha, batch.alpha)
    if setting.perceptual is None:
        return total
    return total + setting.perceptual(rgb.flatten(0, 1), batch.rgb.flatten(0, 1)).mean()


def attack_step(
    model: GaussianGenerator, optimizer: torch.optim.Optimizer, held: ViewBatch, setting: Setting, clock: Clock | Tally
) -> None:
    """Take one step of an attack, in parts."""
    device = clock.device
    with clock.part("data"):
        batch = held.to(device)
    optimizer.zero_grad(set_to_none=True)
    with clock.part("network"), autocast("auto", device):
        raw = model(batch.images)
    end = raw.detach().float().requires_grad_()
    with clock.part("rendering"):
        rendered = render(model.activate(end), batch.cameras)
    rgb, alpha = (image.detach().requires_grad_() for image in (rendered.rgb, rendered.alpha))
    with clock.part("loss"):
        losses(rgb, alpha, batch, setting).backward()
    with clock.part("rendering, backward"):
        torch.autograd.backward((rendered.rgb, rendered.alpha), (rgb.grad, alpha.grad))
    with clock.part("network, backward"):
        raw.backward(end.grad.to(raw.dtype))
    with clock.part("optimizer"):
        _descend(model, optimizer)


Draw = Callable[[GaussianBatch, Cameras], tuple[Tensor, Tensor]]
"""Draws colours and alpha of all views of a batch."""


def draw_at_once(gaussians: GaussianBatch, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Draw as the program does."""
    rendered = render(gaussians, cameras)
    return rendered.rgb, rendered.alpha


def draw_one_by_one(gaussians: GaussianBatch, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Draw as LGM's published code does: every object and view is a rasterizer call of its own."""
    objects, views = cameras.viewmats.shape[:2]
    images = [[_one_view(gaussians[b : b + 1], cameras, b, v) for v in range(views)] for b in range(objects)]
    rgb, alpha = (torch.stack([torch.stack([image[i] for image in row]) for row in images]) for i in range(2))
    return rgb, alpha


def _one_view(gaussians: GaussianBatch, cameras: Cameras, b: int, v: int) -> tuple[Tensor, Tensor]:
    one = Cameras(
        cameras.viewmats[b : b + 1, v : v + 1], cameras.Ks[b : b + 1, v : v + 1], cameras.width, cameras.height
    )
    found = render(gaussians, one)
    return found.rgb[0, 0], found.alpha[0, 0]


def whole_step(
    model: GaussianGenerator,
    optimizer: torch.optim.Optimizer,
    held: ViewBatch,
    setting: Setting,
    clock: Clock,
    draw: Draw = draw_at_once,
) -> None:
    """Take the attack step of :func:`attack_step` in one part."""
    with clock.part("step"):
        batch = held.to(clock.device)
        optimizer.zero_grad(set_to_none=True)
        with autocast("auto", clock.device):
            raw = model(batch.images)
        losses(*draw(model.activate(raw), batch.cameras), batch, setting).backward()
        _descend(model, optimizer)


def _descend(model: GaussianGenerator, optimizer: torch.optim.Optimizer) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def network_pass(
    model: GaussianGenerator, optimizer: torch.optim.Optimizer, held: ViewBatch, setting: Setting, clock: Clock
) -> None:
    """Run the network alone, forward and backward: what a step cannot be faster than."""
    del setting
    images = held.images.to(clock.device)
    optimizer.zero_grad(set_to_none=True)
    with clock.part("step"):
        with autocast("auto", clock.device):
            raw = model(images)
        raw.float().sum().backward()


def defense_step(
    model: GaussianGenerator,
    teacher: GaussianGenerator,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    clock: Clock | Tally,
) -> None:
    """Take one step of the traps: target and source batch of ``images``, teacher on the source."""
    traps = [load_trap(key) for key in TRAPS]
    optimizer.zero_grad(set_to_none=True)
    with clock.part("network"), autocast("auto", clock.device):
        raw = model(torch.cat([images, images]))
    with clock.part("teacher"), torch.no_grad(), autocast("auto", clock.device):
        taught = teacher(images)
    end = raw.detach().float().requires_grad_()
    with clock.part("traps and distillation"):
        both = model.activate(end)
        target, source = both[: len(images)], both[len(images) :]
        trapped = torch.stack([trap.loss(target).mean() for trap in traps]).mean()
        (0.2 * trapped + 0.8 * distillation(source, model.activate(taught.float()))).backward()
    with clock.part("network, backward"):
        raw.backward(end.grad.to(raw.dtype))
    with clock.part("optimizer"):
        _descend(model, optimizer)


def repeat(step: Callable[[Clock], None], device: torch.device, repeats: int) -> Clock:
    """Return the times of ``repeats`` steps, after one that is not counted."""
    step(Clock(device))
    clock = Clock(device)
    for _ in range(repeats):
        step(clock)
    return clock


def attack_floors(model: GaussianGenerator, batch: ViewBatch, work: Mapping[str, int], rates: Rates) -> Floors:
    """Return what the parts of :func:`attack_step` cannot do without; ``work`` is the arithmetic of each."""
    weights, raw = size_of(*model.parameters()), _raw_bytes(model, len(batch.images))
    images = size_of(batch.rgb, batch.alpha)
    moved = {
        "network": weights + size_of(batch.images) + raw,
        "rendering": raw + images,
        "loss": 3 * images,
        "rendering, backward": images + 2 * raw,
        "network, backward": 2 * weights + size_of(batch.images) + raw,
        "optimizer": ADAMW * weights,
    }
    floors = {name: rates.floor(work[name], size) for name, size in moved.items()}
    return {"data": rates.floor(0, size_of(batch.images) + images, over_link=True), **floors}


def defense_floors(model: GaussianGenerator, images: Tensor, work: Mapping[str, int], rates: Rates) -> Floors:
    """Return what the parts of :func:`defense_step` cannot do without."""
    weights, raw = size_of(*model.parameters()), _raw_bytes(model, len(images))
    moved = {
        "network": weights + 2 * size_of(images) + 2 * raw,
        "teacher": weights + size_of(images) + raw,
        "traps and distillation": 5 * raw,
        "network, backward": 2 * weights + 2 * size_of(images) + 2 * raw,
        "optimizer": ADAMW * weights,
    }
    return {name: rates.floor(work[name], size) for name, size in moved.items()}


def _raw_bytes(model: GaussianGenerator, objects: int) -> int:
    """Bytes of what the network predicts, in float32, as all that follows takes it."""
    return objects * model.num_gaussians * GAUSSIAN_CHANNELS * torch.float32.itemsize


def table(title: str, clock: Clock, floors: Floors) -> float:
    """Print the parts of a step, and return the sum of their medians in seconds."""
    medians = {name: statistics.median(times) for name, times in clock.seconds.items()}
    total = sum(medians.values())
    print(f"\n{title}\n\n| part | ms, median (least) | share | GFLOP | MB | least ÷ floor |\n|---|---|---|---|---|---|")
    for name, seconds in medians.items():
        least, floor = min(clock.seconds[name]), floors[name]
        ratio = f"{least / floor.seconds:.1f}" if floor.seconds else "–"
        needs = f"{floor.operations / 1e9:.3g} | {floor.bytes / 1e6:.3g} | {ratio}"
        print(f"| {name} | {1e3 * seconds:.1f} ({1e3 * least:.1f}) | {seconds / total:.1%} | {needs} |")
    least = sum(min(times) for times in clock.seconds.values())
    overall = least / sum(floor.seconds for floor in floors.values())
    print(f"| all | {1e3 * total:.1f} ({1e3 * least:.1f}) | | | | {overall:.1f} |", flush=True)
    return total


def main() -> None:
    """Parse options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", help="size of LGM; big on a GPU, nano on the CPU where not given")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="time compiled blocks as well")
    options = parser.parse_args()
    device = pick_device(options.device)
    gpu = device.type == "cuda"
    preset = options.preset or ("big" if gpu else "nano")
    lpips = RandomLpips().to(device) if gpu else None
    setting = Setting(preset, 4, 8 if gpu else 4, 512 if gpu else 64, lpips)
    name = torch.cuda.get_device_name(device) if gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, LGM {preset}, {setting.objects} objects, {setting.views} views at {setting.pixels} pixels")
    print(f"{resolve_precision('auto', device)}, LPIPS {'with random weights' if gpu else 'left out'}")
    if not gpu:
        print("not run without a GPU: LGM-big, LPIPS, bf16, CUDA events, gsplat; memory is that of the whole process")
    measure(setting, device, options.repeats)
    if options.compile:
        report_compiled(setting, device, options.repeats)


def measure(setting: Setting, device: torch.device, repeats: int) -> None:
    """Print all tables and ratios."""
    torch.manual_seed(0)
    model = LGM.from_preset(setting.preset).to(device).train()
    batch = make_batch(model, setting)
    fused = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    plain = torch.optim.AdamW(model.parameters(), lr=1e-6)
    rates, tally = measure_rates(device), Tally(device)
    clock = repeat(lambda clock: attack_step(model, fused, batch, setting, clock), device, repeats)
    attack_step(model, fused, batch, setting, tally)
    table("Attack step, part by part", clock, attack_floors(model, batch, tally.operations, rates))
    print(f"\nrates of the floor: {rates}")
    found = {
        "attack step": repeat(lambda clock: whole_step(model, fused, batch, setting, clock), device, repeats),
        "reference step": repeat(
            lambda clock: whole_step(model, plain, batch, setting, clock, draw_one_by_one), device, repeats
        ),
        "network alone": repeat(lambda clock: network_pass(model, fused, batch, setting, clock), device, repeats),
    }
    least = {name: min(clock.seconds["step"]) for name, clock in found.items()}
    print("\n| step | ms, median (least) | least, relative to the network alone |\n|---|---|---|")
    for name, clock in found.items():
        times = clock.seconds["step"]
        ratio = least[name] / least["network alone"]
        print(f"| {name} | {1e3 * statistics.median(times):.1f} ({1e3 * min(times):.1f}) | {ratio:.2f} |")
    print(f"\nthe reference step takes {least['reference step'] / least['attack step']:.2f} times the attack step")
    report_defense(model, setting, batch, fused, rates, repeats)
    report_memory(model, fused, batch, setting, device)


def report_defense(
    model: LGM, setting: Setting, batch: ViewBatch, optimizer: torch.optim.Optimizer, rates: Rates, repeats: int
) -> None:
    """Print the parts of a defense step and its share of what the device can do."""
    device = next(model.parameters()).device
    teacher = LGM.from_preset(setting.preset).to(device).eval().requires_grad_(False)
    images, tally = batch.images.to(device), Tally(device)
    clock = repeat(lambda clock: defense_step(model, teacher, optimizer, images, clock), device, repeats)
    defense_step(model, teacher, optimizer, images, tally)
    total = table("Defense step, part by part", clock, defense_floors(model, images, tally.operations, rates))
    flops = sum(tally.operations.values())
    print(f"\ndefense step: {flops / 1e12:.3g} TFLOP at {flops / total / 1e12:.3g} TFLOP/s,")
    print(f"{flops / total / rates.product:.1%} of the {rates.product / 1e12:.3g} TFLOP/s of a matrix product")


def report_compiled(setting: Setting, device: torch.device, repeats: int) -> None:
    """Print how long steps of plain and of compiled blocks take, in turn, and how long the first compiled one took."""
    torch.manual_seed(0)
    model = LGM.from_preset(setting.preset).to(device).train()
    batch = make_batch(model, setting)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    compiled = copy.deepcopy(model)
    compile_blocks(compiled)
    moves = torch.optim.AdamW(compiled.parameters(), lr=1e-6, fused=True)
    print("\n| step | plain, ms, median (least) | compiled | least, plain by compiled | first compiled, s |")
    print("|---|---|---|---|---|")
    for name, step in (("network alone", network_pass), ("attack step", whole_step)):
        first, plain, fast = Clock(device), Clock(device), Clock(device)
        step(compiled, moves, batch, setting, first)
        step(model, optimizer, batch, setting, Clock(device))
        for _ in range(repeats):
            step(model, optimizer, batch, setting, plain)
            step(compiled, moves, batch, setting, fast)
        times = [clock.seconds["step"] for clock in (plain, fast)]
        shown = " | ".join(f"{1e3 * statistics.median(part):.1f} ({1e3 * min(part):.1f})" for part in times)
        print(
            f"| {name} | {shown} | {min(times[0]) / min(times[1]):.2f} | {first.seconds['step'][0]:.1f} |", flush=True
        )


def report_memory(
    model: LGM, optimizer: torch.optim.Optimizer, batch: ViewBatch, setting: Setting, device: torch.device
) -> None:
    """Print the most memory that an attack step with gradient checkpointing uses."""
    model.enable_gradient_checkpointing()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole_step(model, optimizer, batch, setting, Clock(device))
    print(f"peak memory of an attack step with gradient checkpointing: {peak_memory(device) / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
