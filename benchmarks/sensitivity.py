"""What a layer analysis costs against its floor, one forward pass a sample and one backward pass a loss.

Run ``python benchmarks/sensitivity.py [--samples 8] [--traps position,opacity] [--profile NAME]``. Floor and analysis
take turns on the same samples in one process, so that their ratio holds on a machine that does other work. Times are
medians over the samples: CPU seconds of all threads on a CPU, wall seconds elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from rich.console import Console

from geotrap_cli.data.stream import SampleStream
from geotrap_cli.data.views import ViewBatch
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile.load import load_profile
from geotrap_cli.sensitivity.gradients import UnitParameters, gradient_norms
from geotrap_cli.sensitivity.measures import Measure, trap_measure
from geotrap_cli.sensitivity.plan import load_traps
from geotrap_cli.sensitivity.samples import SampleNorms, draw_objects
from geotrap_cli.sensitivity.scores import score_units
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views

SIDES = ("defense_target", "source_train")


@contextlib.contextmanager
def clock(device: torch.device, seconds: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    now = time.process_time if device.type == "cpu" else time.perf_counter
    began = now()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds.append(now() - began)


def floor(model: LGM, batch: ViewBatch, measure: Measure) -> None:
    """One forward pass and one backward pass a loss; the gradients are thrown away."""
    parameters = list(model.parameters())
    scalars = [probe for probes in measure(activate(model(batch.images)), batch, 0).values() for probe in probes]
    for place, scalar in enumerate(scalars, start=1):
        torch.autograd.grad(scalar, parameters, retain_graph=place < len(scalars), allow_unused=True)


def streams(bench: Workbench, samples: int, console: Console) -> Iterator[SampleStream]:
    """Yield the samples of both sides, rendered."""
    for side in SIDES:
        ids = draw_objects(bench.dataset.records, getattr(bench.splits, side), 0)[:samples]
        prepare_views(bench, ids, console, quiet=True)
        yield SampleStream(bench.dataset, ids, bench.input_size, bench.output_size, 0, 0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8, help="samples of each side")
    parser.add_argument("--traps", default="position,opacity")
    parser.add_argument("--profile", default="pos_opacity")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    profile, device = load_profile(options.profile).profile, pick_device(options.device)
    model = open_model(profile, device)
    units = UnitParameters.of(model, model.units())
    bench = open_workbench(profile, device, model)
    measure = trap_measure(load_traps(profile, tuple(options.traps.split(","))))
    times: dict[str, list[float]] = {"floor": [], "analysis": [], "views": []}
    target, source = (
        measure_side(stream, model, units, measure, device, times)
        for stream in streams(bench, options.samples, Console(stderr=True))
    )
    scoring: list[float] = []
    with clock(device, scoring):
        score_units(target, source, units, frozenset(), seed=0, resamples=1000)
    report(times, scoring[0], len(target))


def measure_side(
    stream: SampleStream,
    model: LGM,
    units: UnitParameters,
    measure: Measure,
    device: torch.device,
    times: dict[str, list[float]],
) -> SampleNorms:
    """Measure one side as the analysis does, and time it and its floor in turns."""
    rows = []
    # The first pass also pays for setting up.
    floor(model, stream.batch(0).to(device), measure)
    for place in range(len(stream.ids)):
        with clock(device, times["views"]):
            batch = stream.batch(place).to(device)
        with clock(device, times["floor"]):
            floor(model, batch, measure)
        with clock(device, times["analysis"]):
            rows.append(gradient_norms(measure(activate(model(batch.images)), batch, place), units, batch.ids[0]))
    return SampleNorms(stream.ids, {name: np.stack([row[name] for row in rows]) for name in rows[0]})


def report(times: dict[str, list[float]], scoring: float, samples: int) -> None:
    """Print medians a sample, and what each adds to the floor."""
    base = statistics.median(times["floor"])
    lines = {
        "floor: one forward pass and one backward pass a loss": base,
        "the same with the norm of every unit": statistics.median(times["analysis"]),
        "reading the views": statistics.median(times["views"]),
        f"scores and 1000 resamples, shared by {2 * samples} samples": scoring / (2 * samples),
    }
    print("| a sample | seconds | ÷ floor |\n|---|---|---|")
    for name, seconds in lines.items():
        print(f"| {name} | {seconds:.4f} | {seconds / base:.3f} |")
    total = sum(list(lines.values())[1:])
    print(f"| **the analysis** | {total:.4f} | {total / base:.3f} |")


if __name__ == "__main__":
    main()
