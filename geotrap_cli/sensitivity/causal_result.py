"""A finished causal analysis: its tables, its files, its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.evaluation.bootstrap import CONFIDENCE, Interval
from geotrap_cli.reports.causal_plots import CausalPoint, causal_scatter
from geotrap_cli.reports.tables import Cell, Record, format_interval, records_table, to_csv, to_json
from geotrap_cli.sensitivity.effects import CausalEffect, Correlation
from geotrap_cli.sensitivity.interventions import FREEZE, RESET, ROLLBACK
from geotrap_cli.sensitivity.scores import COMBINED, GEOMETRIC_MEAN, UnitScore, value_of

JSON, CSV, SCATTER = "causal.json", "causal.csv", "causal.png"
SCORES = (GEOMETRIC_MEAN, *COMBINED)
DONE = {FREEZE: "frozen", RESET: "reset", ROLLBACK: "rolled back"}
_HEADERS = {GEOMETRIC_MEAN: "geo. mean"}


@dataclass(frozen=True)
class CausalResult:
    """What the units are worth to the attacker, and which score foresaw it.

    Attributes:
        method: Key of the attack.
        action: ``freeze``, ``reset`` or ``rollback``.
        steps: Budget of each attack, optimizer steps.
        gain: What the attack as it is wins, dB.
        effects: By unit, the largest first.
        correlations: One a score.
        scores: Of the same units, by unit.
    """

    method: str
    action: str
    steps: int
    gain: Interval
    effects: list[CausalEffect]
    correlations: list[Correlation]
    scores: Mapping[str, UnitScore]

    def records(self) -> list[Record]:
        """Return one flat record a unit: its effect and its scores."""
        return [
            effect.record()
            | {score: value_of(self.scores[effect.unit], score) for score in SCORES}
            | {"lora_reach": self.scores[effect.unit].row.lora_reach}
            for effect in self.effects
        ]

    def payload(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "attack": self.method,
            "action": self.action,
            "steps": self.steps,
            **_strict(_interval_record("gain_db", self.gain)),
            "correlations": [
                {"score": entry.score, "units": entry.units, **_strict(_interval_record("spearman", entry.rho))}
                for entry in self.correlations
            ],
            "units": json.loads(to_json(self.records())),
        }

    def render(self, console: Console) -> None:
        """Print the units by effect, and the correlations."""
        console.print()
        console.print(records_table(self._title, [self._line(effect) for effect in self.effects], self._caption))
        lines: Sequence[Mapping[str, Cell]] = [
            {"score": entry.score, "Spearman with the effect": entry.rho, "units": entry.units}
            for entry in self.correlations
        ]
        console.print()
        console.print(records_table("Which score foresees the effect", lines))

    def write(self, folder: Path) -> None:
        """Write tables and picture into the run folder."""
        write_json(folder / JSON, self.payload())
        write_text(folder / CSV, to_csv(self.records()))
        points = [
            CausalPoint(
                effect.unit,
                {score: value_of(self.scores[effect.unit], score) for score in SCORES},
                effect.effect,
                self.scores[effect.unit].row.lora_reach,
            )
            for effect in self.effects
        ]
        captions = {entry.score: f"Spearman {format_interval(entry.rho)}" for entry in self.correlations}
        ylabel = f"PSNR that the attack loses with\nthe unit {DONE[self.action]} (dB)"
        causal_scatter(points, folder / SCATTER, captions=captions, title=self._title, ylabel=ylabel)

    @property
    def _title(self) -> str:
        return f"Worth of units to the attack {self.method}, {self.steps} steps, each unit {DONE[self.action]}"

    @property
    def _caption(self) -> str:
        gained = format_interval(self.gain, sign=True)
        return (
            f"effect: foreground PSNR on held-out targets that the attack loses [{CONFIDENCE:.0%} over groups] · "
            f"as it is, the attack wins {gained} dB · kept: share of that gain left"
        )

    def _line(self, effect: CausalEffect) -> dict[str, Cell]:
        score = self.scores[effect.unit]
        return {
            "unit": effect.unit,
            "effect (dB)": format_interval(effect.effect, sign=True),
            "kept": effect.kept.value,
            **{_HEADERS.get(name, name): value_of(score, name) for name in SCORES},
            "LoRA reach": score.row.lora_reach,
        }


def _interval_record(name: str, interval: Interval) -> Record:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _strict(record: Record) -> dict[str, Any]:
    """The record with NaN as null."""
    (plain,) = json.loads(to_json([record]))
    return dict(plain)
