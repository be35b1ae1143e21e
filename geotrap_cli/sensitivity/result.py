"""A finished analysis: what it prints, and the files it leaves in its run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from geotrap_cli.atomic import write_text
from geotrap_cli.reports.sensitivity_plots import sensitivity_bars, sensitivity_heat
from geotrap_cli.reports.tables import sensitivity_table, to_csv, to_json
from geotrap_cli.sensitivity.plan import Plan
from geotrap_cli.sensitivity.scores import UnitScore
from geotrap_cli.sensitivity.selection import layers_fragment

JSON, CSV, BARS, HEAT, LAYERS = "sensitivity.json", "sensitivity.csv", "bars.png", "heat.png", "layers.toml"


@dataclass(frozen=True)
class AnalysisResult:
    """A finished analysis.

    Attributes:
        run: Its folder.
        plan: What was measured.
        weights: Which weights, in words.
        samples: Objects of each side.
        scores: The units, in the order that was asked for.
        chosen: Units written to layers.toml; None where none were asked for.
    """

    run: Path
    plan: Plan
    weights: str
    samples: int
    scores: list[UnitScore]
    chosen: list[str] | None = None

    @property
    def shown(self) -> list[UnitScore]:
        """The first ``--top`` units."""
        return self.scores[: self.plan.top]

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {
            "run": str(self.run),
            "mode": self.plan.mode,
            "losses": list(self.plan.losses),
            "weights": self.weights,
            "samples": self.samples,
            "units": json.loads(to_json([score.record() for score in self.shown])),
            "selected": self.chosen,
            "layers": None if self.chosen is None else str(self.run / LAYERS),
        }

    def render(self, console: Console) -> None:
        """Print the table, and where the rest lies."""
        console.print(sensitivity_table([score.row for score in self.shown], self.title))
        if len(self.shown) < len(self.scores):
            console.print(f"{len(self.scores) - len(self.shown)} more units in {self.run / CSV}", soft_wrap=True)
        console.print(f"\nrun: {self.run}", soft_wrap=True)
        if self.chosen is None:
            console.print("next: geotrap analyze-layers --select 12, or geotrap train --set layers.units=UNIT,UNIT")
        else:
            console.print(f"layers: {self.run / LAYERS}", soft_wrap=True)
            console.print(f"next: geotrap train --set layers.units={','.join(self.chosen)}", soft_wrap=True)

    @property
    def title(self) -> str:
        """Heading of tables and figures."""
        what = {"trap": "trap loss", "attack": "attacker's loss", "jacobian": "Jacobian of the Gaussians"}
        return f"Sensitivity of units, target ÷ source: {what[self.plan.mode]}, {self.samples} objects a side"


def write_files(result: AnalysisResult, csv: Path | None) -> None:
    """Write tables of all units, figures of those shown, and the layers that were chosen."""
    folder, plan = result.run, result.plan
    records = [score.record() for score in result.scores]
    write_text(folder / JSON, to_json(records))
    for path in {folder / CSV, *([csv] if csv else [])}:
        write_text(path, to_csv(records))
    rows = [score.row for score in result.shown]
    sensitivity_bars(rows, folder / BARS, title=result.title)
    if len(plan.losses) > 1:
        sensitivity_heat(rows, folder / HEAT, title=result.title)
    if result.chosen is not None:
        safe = " that the LoRA adapter does not reach" if plan.lora_safe else ""
        reason = f"The first {len(result.chosen)} units{safe} by {plan.ranking} in mode {plan.mode}"
        write_text(folder / LAYERS, layers_fragment(result.chosen, folder.name, reason))
