"""What a sweep found: one row a combination, ranked, for people, JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.tables import Record, format_number

TITLE = "Combinations of traps, the one that holds best first (foreground PSNR, dB)"
CAPTION = (
    "target: defended less undefended, before the attack and where each is best under any; recovery: of the strongest "
    "attack, 0 is a white image, 1 the undefended best; source: change by the defense; gain: how much lower the "
    "attacked target ends than with the better part alone; !: source lost more than eval.source_tolerance_db, so last"
)
_COLUMNS: dict[str, Justify] = {
    "traps": "left",
    "recovery": "right",
    "target before": "right",
    "target after": "right",
    "source": "right",
    "gain": "right",
    "seconds": "right",
}


@dataclass(frozen=True)
class SweepRow:
    """One combination under its strongest attack; what could not be measured is None.

    Attributes:
        traps: The traps that were trained together.
        recovery: Peak recovery of the strongest attack.
        target_before: Change of foreground PSNR on target by the defense, before any attack (dB).
        target_after: Best quality of the defended weights under the strongest attack, less the best of the undefended
            ones under any attack (dB).
        source_change: Change of foreground PSNR on source by the defense, before any attack (dB).
        attack: The strongest attack.
        seconds: Duration of the defense's optimisation.
        source_broken: Whether the source loss exceeds ``eval.source_tolerance_db``.
        run: The train run.
        coupling_gain: ``target_after`` of the best part alone less that of the combination (dB); positive: together
            they hold better than either. None for a single trap, or where a part was not run alone.
    """

    traps: tuple[str, ...]
    recovery: float | None
    target_before: float | None
    target_after: float | None
    source_change: float | None
    attack: str
    seconds: float
    source_broken: bool
    run: str
    coupling_gain: float | None = None

    def record(self) -> Record:
        """Return the row as flat fields."""
        return {**dataclasses.asdict(self), "traps": " ".join(self.traps)}


def with_coupling(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows with the coupling gain of every combination whose traps were all run alone."""
    alone = {row.traps[0]: row.target_after for row in rows if len(row.traps) == 1}

    def gain(row: SweepRow) -> float | None:
        parts = [after for trap in row.traps if (after := alone.get(trap)) is not None]
        if len(row.traps) == 1 or len(parts) < len(row.traps) or row.target_after is None:
            return None
        return min(parts) - row.target_after

    return [dataclasses.replace(row, coupling_gain=gain(row)) for row in rows]


def ranked(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows by recovery, lowest first; broken sources come last, undefined recoveries last of all."""
    return sorted(rows, key=lambda row: (row.recovery is None, row.source_broken, row.recovery or 0.0))


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: its folder and its rows, ranked."""

    run: Path
    rows: list[SweepRow]

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {"run": str(self.run), "combinations": [dataclasses.asdict(row) for row in self.rows]}

    def render(self, console: Console) -> None:
        """Print the ranking."""
        console.print(TextTable(TITLE, _COLUMNS, [_cells(row) for row in self.rows], CAPTION))
        console.print(Text(f"\nrun: {self.run}"), soft_wrap=True)
        console.print(Text(f"next: geotrap compare --runs {self.run / 'runs'}"), soft_wrap=True)


def _cells(row: SweepRow) -> list[str]:
    mark = " !" if row.source_broken else ""
    changes = (row.target_before, row.target_after, row.source_change, row.coupling_gain)
    figures = [format_number(row.recovery), *(format_number(value, sign=True) for value in changes)]
    return [" + ".join(row.traps) + mark, *figures, f"{row.seconds:.0f}"]
