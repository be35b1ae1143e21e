"""What each cell is: attack, weights, seed, budget, where it was measured, and the key it has in the results store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import SUBJECTS, Cell
from geotrap_cli.evaluation.store import ResultsStore, StoredCell
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.page.links import Links

_CellId = tuple[str, str, int, str, int, float]


@dataclass(frozen=True)
class CellFacts:
    """One cell as the page tells of it.

    Attributes:
        anchor: Where it stands on the page.
        subject: Whose weights were attacked.
        facts: What is known of it, by name.
        settings: The options of the attack; empty where no store tells them.
    """

    anchor: str
    subject: str
    facts: dict[str, str]
    settings: Mapping[str, Any]


def cell_facts(comparison: Comparison, links: Links, folder: Path) -> dict[str, list[CellFacts]]:
    """Return the cells of each attack by its label; run folders are told relative to ``folder``, that of the page."""
    stored = _stored(comparison)
    return {
        attack.label: [
            _facts(
                attack.pair.cell(subject),
                links.cell(attack.label, subject),
                attack.pair.folder(subject),
                folder,
                stored.get(_identity(attack.pair.cell(subject))),
            )
            for subject in (*SUBJECTS, *attack.pair.controls)
        ]
        for attack in comparison.attacks
    }


def relative(path: str | Path, folder: Path) -> str:
    """Return ``path`` as seen from ``folder``; as it is where there is no way from one to the other."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)


def _facts(cell: Cell, anchor: str, run: Path, folder: Path, stored: StoredCell | None) -> CellFacts:
    facts = {
        "attack": cell.method,
        "weights": cell.subject,
        "seed": str(cell.seed),
        "steps": str(cell.steps),
        "evaluated after": ", ".join(str(evaluation.step) for evaluation in cell.evaluations) + " steps",
        "objects measured": str(len(cell.evaluations[0].target)),
        "trained parameters": f"{cell.trainable_parameters:,}",
        "objects a step": "unknown" if cell.batch_size is None else str(cell.batch_size),
        "seconds": f"{cell.seconds:.1f}",
        "run": relative(run, folder),
        "settings digest": cell.settings or "unknown",
        "content key": "unknown: no results.jsonl beside the run has this cell" if stored is None else stored.key,
        "weights digest": "unknown" if stored is None else stored.weights,
        "code": "unknown" if stored is None else str(stored.inputs.get("code", "unknown")),
    }
    attack = {} if stored is None else stored.inputs.get("attack", {})
    return CellFacts(anchor, cell.subject, facts, attack.get("config", {}))


def _stored(comparison: Comparison) -> dict[_CellId, StoredCell]:
    pairs = [attack.pair for attack in comparison.attacks]
    folders = {pair.folder(subject).parent for pair in pairs for subject in (*SUBJECTS, *pair.controls)}
    return {_identity(row.cell): row for row in _rows(sorted(folders))}


def _rows(folders: Sequence[Path]) -> Iterable[StoredCell]:
    for folder in folders:
        store = ResultsStore(folder)
        try:
            yield from store.rows() if store.path.is_file() else ()
        except UsageError:
            # A broken line of the store keeps keys from being told, and no number from being right.
            continue


def _identity(cell: Cell) -> _CellId:
    # The duration tells two measurements of one trial apart.
    return cell.method, cell.subject, cell.steps, cell.settings, cell.seed, cell.seconds
