"""Why the opacity trap defaults to ``log``: the same defense with ``linear`` and with ``log`` opacity, side by side.

Run ``python benchmarks/opacity_modes.py --picture opacity_modes.png``. ``linear`` is bounded below by −1 and stalls
there; ``log`` goes on falling. Each run's own trap value is drawn, with how far it moved over the second half.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from geotrap_cli.atomic import atomic_path
from geotrap_cli.options import CommonOptions
from geotrap_cli.training.defense import run_defense

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODES = {"linear": "mean opacity of the top tenth − 1", "log": "mean log opacity of the top tenth"}
#: One trap alone and nothing that holds it back, so that only its own form can stall it, over the Gaussians that draw:
#: six of seven are background, and transparent from the start.
PROFILE = """
[traps.opacity]
mode = "{mode}"
top_fraction = 0.1

[train]
steps = {steps}
lr = 1e-4
source_ratio = 0.0
log_every = 1
"""


def trap_values(mode: str, steps: int, folder: Path) -> list[float]:
    """Return the trap's value at each step of a defense with opacity ``mode``."""
    profile = folder / f"opacity_{mode}.toml"
    profile.write_text(PROFILE.format(mode=mode, steps=steps))
    options = CommonOptions(profile=str(profile), runs=folder / "runs", device="cpu")
    result = run_defense(options, options.load_profile("train"), Console(stderr=True))
    lines = (result.run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["opacity_static"] for line in lines]


def moved(values: list[float]) -> float:
    """Return how far the mean of the last tenth lies under the mean of the tenth before the middle."""
    tenth = max(1, len(values) // 10)
    middle = len(values) // 2
    return sum(values[middle - tenth : middle]) / tenth - sum(values[-tenth:]) / tenth


def draw(axes: Axes, mode: str, values: list[float]) -> None:
    """Draw one run, with its move over the second half."""
    axes.plot(range(1, len(values) + 1), values, color="#0072B2" if mode == "linear" else "#D55E00")
    axes.axvspan(len(values) / 2, len(values), color="#eeeeee", zorder=0)
    axes.set_title(f"{mode}: second half falls by {moved(values):.3g}", loc="left")
    axes.set_ylabel(MODES[mode])
    axes.set_xlabel("optimizer step")


def main() -> None:
    """Run both defenses, print how far each moved, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--picture", type=Path, default=Path("opacity_modes.png"))
    arguments = parser.parse_args()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for axes, mode in zip(figure.subplots(1, len(MODES)), MODES, strict=True):
            values = trap_values(mode, arguments.steps, Path(folder))
            draw(axes, mode, values)
            print(f"{mode}: from {values[0]:.3f} to {values[-1]:.3f}, second half {moved(values):.4f}")
    with atomic_path(arguments.picture) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
