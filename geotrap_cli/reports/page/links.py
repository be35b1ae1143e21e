"""Where each number of the page leads: to the facts of the cell, or cells, that it was computed from."""

from __future__ import annotations

from collections.abc import Iterable

from geotrap_cli.evaluation.cells import SUBJECTS
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.quantities import Quantity

ALL_CELLS, DEFENSE = "cells", "defense"


class Links:
    """Anchors of attacks and cells.

    Args:
        comparison: What the page shows.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._attacks = {attack.label: f"attack-{number}" for number, attack in enumerate(comparison.attacks, start=1)}
        self._cells = {
            attack.pair.file(subject): (self.attack(attack.label), self.cell(attack.label, subject))
            for attack in comparison.attacks
            for subject in (*SUBJECTS, *attack.pair.controls)
        }

    def attack(self, label: str) -> str:
        """Return the anchor of an attack's section."""
        return self._attacks.get(label, ALL_CELLS)

    def cell(self, label: str, subject: str) -> str:
        """Return the anchor of the facts of one cell."""
        return f"{self.attack(label)}-{subject}"

    def of(self, number: Quantity) -> str:
        """Return where a number leads: its cell, the attack whose cells it is from, or the list of all cells."""
        return self.of_files(number.cells)

    def of_files(self, files: Iterable[str]) -> str:
        """Return the anchor that all ``files`` have in common."""
        known = [self._cells[file] for file in dict.fromkeys(files) if file in self._cells]
        attacks, cells = {attack for attack, _ in known}, {cell for _, cell in known}
        if len(cells) == 1:
            return cells.pop()
        return attacks.pop() if len(attacks) == 1 else ALL_CELLS

    def in_column(self, attack: JudgedAttack, column: str) -> str:
        """Return where a number of a table of one attack leads, by the column's header."""
        first = column.split()[0].rstrip(",:") if column.split() else ""
        subject = first if first in (*SUBJECTS, *attack.pair.controls) else None
        return self.attack(attack.label) if subject is None else self.cell(attack.label, subject)
