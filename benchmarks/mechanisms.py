"""What the mechanisms of ``[robust]`` add to a step: ``python benchmarks/mechanisms.py`` prints a markdown table.

A step is everything that ``geotrap train`` does in one, on the procedural set. Each row runs in a process of its own.
Seconds are CPU time of the fastest step (wall time on CUDA), as other work on the machine hardly changes it; memory
is the highest of the whole process (on CUDA: of what PyTorch allocated). Both stand beside those of the plain step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch
from _grid import in_own_process, peak_memory

from geotrap_cli.profile import load_profile
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import open_model, open_workbench

ROWS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "parameter_noise": ("robust.parameter_noise=0.01",),
    "input_noise": ("robust.input_noise=0.05",),
    "input_noise, clean_weight = 0": ("robust.input_noise=0.05", "robust.clean_weight=0.0"),
    "awp": ("robust.awp=0.1",),
    "unit_reset, up to 3": ("robust.unit_reset=3",),
    "unrolled, 4 steps of lora": ("robust.unrolled.kinds=lora",),
    "unrolled, 4 steps of full": ("robust.unrolled.kinds=full",),
    "head_attack, 4 steps": ("robust.head_attack=true",),
    "conflict": ("robust.conflict=orthogonal",),
    "energy_cap": ("robust.energy_cap=3.0",),
    "pcgrad": ("robust.pcgrad=true",),
    "freeze_head = false": ("layers.freeze_head=false",),
    "freeze_lora_targets": ("layers.freeze_lora_targets=true",),
    "lr_multipliers": ("layers.lr_multipliers.unet.mid_block=2.0",),
    "fuse_head": ("model.fuse_head=true",),
}


@dataclass(frozen=True)
class Settings:
    """What every row has in common."""

    profile: str
    overrides: tuple[str, ...]
    steps: int
    device: str


def measure(row: str, settings: Settings) -> tuple[float, float]:
    """Seconds of the fastest step after the first, and the peak memory in bytes."""
    profile = load_profile(settings.profile, (*settings.overrides, *ROWS[row])).profile
    device = torch.device(settings.device)
    model, teacher = open_model(profile, device), open_model(profile, device)
    bench = open_workbench(profile, device, model)
    trained = select_parameters(model, *layer_choice(model, profile))
    objective = DefenseObjective(bench, model, teacher, TrapSet.from_profile(profile))
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-5, fused=True)
    seconds = [_step(objective, optimizer, index, device) for index in range(settings.steps + 1)]
    return min(seconds[1:]), peak_memory(device)


def _step(objective: DefenseObjective, optimizer: torch.optim.Optimizer, index: int, device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    terms = objective(index)
    optimizer.zero_grad(set_to_none=True)
    objective.backward(terms)
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="pos_opacity")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of each row")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    settings = Settings(options.profile, tuple(options.overrides), options.steps, options.device)
    print("| mechanism | seconds a step | relative | peak memory, GB | more than plain, GB |")
    print("|---|---|---|---|---|")
    plain: tuple[float, float] | None = None
    for row in ("plain", *(row for row in options.rows if row != "plain")):
        seconds, memory = in_own_process(measure, row, settings)
        plain = plain or (seconds, memory)
        more = (memory - plain[1]) / 1e9
        print(f"| {row} | {seconds:.2f} | {seconds / plain[0]:.2f} | {memory / 1e9:.2f} | {more:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
