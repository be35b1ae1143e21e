"""What the sensitivity term adds to a step: ``python benchmarks/dynamic.py [--trap position]`` prints a markdown table.

A step is the forward and backward pass of the static trap on a batch of target objects, the term, and AdamW. Each row
runs in a process of its own. Wall times mean little on a machine that does other work: there, read the CPU seconds (of
all threads), from which the factor is taken on a CPU. Memory is the highest of the whole process (on CUDA: of what
PyTorch allocated), so that differences between rows count. ``norm`` is the oldest form, for comparison only: the
gradient of the summed norms of the attribute. It reacts to fewer changes than S does, and not at all to those of unit
quaternions.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
from _grid import in_own_process, peak_memory
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.dynamic import DynamicTerm
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.terms import TargetPass
from geotrap_cli.training.trap_set import load_trap
from geotrap_cli.traps import Attribute, Trap, attribute_of

ROWS = ("off", "norm", "sum", "hutchinson")


@dataclass(frozen=True)
class Settings:
    """What every row has in common."""

    preset: str
    weights: str
    trap: str
    objects: int
    probes: int
    steps: int
    device: str
    checkpointing: bool


class Norm(Attribute):
    """The norm of each Gaussian's attribute."""

    def of(self, batch: GaussianBatch) -> Tensor:
        """Return the norms, [B, N]."""
        return super().of(batch).norm(dim=-1)


def term(row: str, settings: Settings, model: LGM, trap: Trap) -> DynamicTerm:
    """The term of a row."""
    estimator = row if row == "hutchinson" else "sum"
    probes = settings.probes if row == "hutchinson" else 1
    table = {"eta": 1e-3, "estimator": estimator, "probes": probes}
    made = DynamicTerm(
        Profile.model_validate({"traps": {settings.trap: {"dynamic": table}}}), model, {settings.trap: trap}
    )
    if row == "norm":
        attribute = attribute_of(trap)
        assert attribute is not None
        norm = Norm(*attribute.names, raw=attribute.raw)
        made.terms = tuple(type(one)(one.key, norm, one.table, one.layers) for one in made.terms)
    return made


def measure(row: str, settings: Settings) -> tuple[list[float], list[float], float]:
    """Wall and CPU seconds of every step after the first, and the peak memory in bytes."""
    device = torch.device(settings.device)
    torch.manual_seed(0)
    model = load_generator(settings.preset, settings.weights).to(device).train()
    if settings.checkpointing:
        model.enable_gradient_checkpointing()
    trained = select_parameters(model, (), freeze_head=True)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-5, fused=True)
    trap = load_trap(settings.trap)
    extra = None if row == "off" else term(row, settings, model, trap)
    size = model.input_size
    images = torch.randn(settings.objects, model.num_views, 9, size, size).to(device)
    seconds, cpu_seconds = [], []
    for step in range(settings.steps + 1):
        began, cpu_began = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        gaussians = model.forward_gaussians(images)
        losses = {settings.trap: trap.loss(gaussians)}
        loss = losses[settings.trap].mean()
        if extra is not None:
            loss = loss + extra(TargetPass(step, images, gaussians, losses)).loss
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    return seconds[1:], cpu_seconds[1:], peak_memory(device)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--weights", default="shipped", help="shipped, random, or a folder")
    parser.add_argument("--trap", default="position")
    parser.add_argument("--objects", type=int, default=4, help="target objects of a step")
    parser.add_argument("--probes", type=int, default=1, help="random vectors of the row hutchinson")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each row")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    settings = Settings(**vars(parser.parse_args()))
    print(f"{settings}\n")
    print("| term | s a step, median (fastest) | CPU s a step, fastest | times off | peak MB | MB over off |")
    print("|---|---|---|---|---|---|")
    baseline = (0.0, 0.0)
    for row in ROWS:
        seconds, cpu_seconds, memory = in_own_process(measure, row, settings)
        # On CUDA the CPU only waits.
        fastest = min(cpu_seconds if settings.device == "cpu" else seconds)
        if row == "off":
            baseline = (fastest, memory)
        print(
            f"| {row} | {statistics.median(seconds):.3f} ({min(seconds):.3f}) | {min(cpu_seconds):.3f} "
            f"| {fastest / baseline[0]:.2f} | {memory / 1e6:.0f} | {(memory - baseline[1]) / 1e6:+.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
