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
from geotrap_cli.sensitivity.causal_result import CausalResult
from geotrap_cli.sensitivity.plan import Plan
from geotrap_cli.sensitivity.request import REACH
from geotrap_cli.sensitivity.scores import GEOMETRIC_MEAN, UNIT, UnitScore, value_of
from geotrap_cli.sensitivity.selection import layers_fragment
from geotrap_cli.sensitivity.stopping import Precision

JSON, CSV, BARS, HEAT, LAYERS = "sensitivity.json", "sensitivity.csv", "bars.png", "heat.png", "layers.toml"
_WHAT = {"trap": "trap loss", "attack": "attacker's loss", "jacobian": "Jacobian of the Gaussians"}


@dataclass(frozen=True)
class AnalysisResult:
    """A finished analysis.

    Attributes:
        run: Its folder.
        plan: What was measured.
        weights: Which weights, in words.
        precision: How many samples there are, and how narrow the intervals.
        scores: The units, in the order that was asked for.
        chosen: Units written to layers.toml; None where none were asked for.
        causal: What units are worth to the attacker; None where it was not asked for.
    """

    run: Path
    plan: Plan
    weights: str
    precision: Precision
    scores: list[UnitScore]
    chosen: list[str] | None = None
    causal: CausalResult | None = None

    @property
    def shown(self) -> list[UnitScore]:
        """The first ``--top`` units of those that ``--reach`` names."""
        wanted = REACH[self.plan.request.reach]
        reach = [score for score in self.scores if wanted is None or score.row.lora_reach is wanted]
        return reach[: self.plan.request.top]

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {
            "run": str(self.run),
            "mode": self.plan.request.mode,
            "losses": list(self.plan.losses),
            "weights": self.weights,
            "samples": self.precision.samples,
            "precision": self.precision.record(),
            "units": json.loads(to_json([score.record() for score in self.shown])),
            "selected": self.chosen,
            "layers": None if self.chosen is None else str(self.run / LAYERS),
            "causal": None if self.causal is None else self.causal.payload(),
        }

    def render(self, console: Console) -> None:
        """Print the tables, and where the rest lies."""
        rows = [score.row for score in self.shown]
        console.print(sensitivity_table(rows, self.title, beside=self._sorted_by(), note=self.precision.words()))
        if len(self.shown) < len(self.scores):
            console.print(f"{len(self.scores) - len(self.shown)} more units in {self.run / CSV}", soft_wrap=True)
        if self.causal is not None:
            self.causal.render(console)
        console.print(f"\nrun: {self.run}", soft_wrap=True)
        if self.chosen is None:
            hint = "next: geotrap analyze-layers --select 12, or geotrap train --set layers.units=UNIT,UNIT"
            console.print(hint, soft_wrap=True)
        else:
            console.print(f"layers: {self.run / LAYERS}", soft_wrap=True)
            console.print(f"next: geotrap train --set layers.units={','.join(self.chosen)}", soft_wrap=True)

    def _sorted_by(self) -> dict[str, list[float]]:
        """The column that orders the table, where the table would not have it."""
        column = self.plan.request.sort
        if column in (GEOMETRIC_MEAN, UNIT, *self.plan.losses):
            return {}
        return {column: [value_of(score, column) for score in self.shown]}

    @property
    def title(self) -> str:
        """Heading of tables and figures."""
        what = _WHAT[self.plan.request.mode]
        return f"Sensitivity of units, target ÷ source: {what}, {self.precision.samples} samples a side"


def write_files(result: AnalysisResult) -> None:
    """Write tables of all units, figures of those shown, the layers that were chosen, and the causal analysis."""
    folder, request = result.run, result.plan.request
    records = [score.record() for score in result.scores]
    write_text(folder / JSON, to_json(records))
    for path in {folder / CSV, *([request.csv] if request.csv else [])}:
        write_text(path, to_csv(records))
    rows = [score.row for score in result.shown]
    sensitivity_bars(rows, folder / BARS, title=result.title)
    if len(result.plan.losses) > 1:
        sensitivity_heat(rows, folder / HEAT, title=result.title)
    if result.chosen is not None:
        write_text(folder / LAYERS, _fragment(result, result.chosen))
    if result.causal is not None:
        result.causal.write(folder)


def _fragment(result: AnalysisResult, chosen: list[str]) -> str:
    request = result.plan.request
    safe = " that the LoRA adapter does not reach" if request.lora_safe else ""
    reason = f"The first {len(chosen)} units{safe} by {result.plan.ranking} in mode {request.mode}"
    return layers_fragment(chosen, result.run.name, reason)
