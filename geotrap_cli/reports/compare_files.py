"""What a comparison leaves in its run folder: all numbers as JSON, tables as CSV, and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.options import CommonOptions
from geotrap_cli.provenance import record_environment
from geotrap_cli.reports.attack_pictures import draw_curves, draw_sheet
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.document import comparison_document
from geotrap_cli.reports.gates import GateResult
from geotrap_cli.reports.geometry_plots import GEOMETRY
from geotrap_cli.reports.page.write import write_page
from geotrap_cli.reports.tables import to_csv
from geotrap_cli.reports.wording import headline
from geotrap_cli.runs import create_run

REPORT = "report.html"
JSON, CSV, NUMBERS, CURVES, SHEET = "comparison.json", "comparison.csv", "numbers.csv", "recovery.png", "sheet.png"
_SUMMARY = ("state", "states", "worst_attack", "recovery", "floor", "ceiling", "groups", "attack_runs", "train_run")


def write_comparison(
    comparison: Comparison, gates: Sequence[GateResult], options: CommonOptions, console: Console
) -> tuple[Path, dict[str, Path]]:
    """Write everything into a run folder of its own and return what is where."""
    selection = comparison.selection
    facts = {
        "attack_runs": [str(path.resolve()) for path in selection.runs],
        "train_run": selection.train_run,
        "weights": selection.weights,
        "environment": record_environment(),
    }
    document = full_document(comparison, gates)
    with create_run("compare", selection.profile_name, selection.profile_toml, options.runs_root, facts) as run:
        files = {"report": REPORT, "all numbers": JSON, "table": CSV, "numbers by name": NUMBERS, "curves": CURVES}
        paths = {what: run.path / name for what, name in files.items()}
        write_json(run.path / JSON, document)
        write_text(run.path / CSV, to_csv(comparison.records()))
        write_text(run.path / NUMBERS, to_csv(comparison.number_records()))
        draw_curves(comparison, run.path / CURVES)
        if draw_sheet(comparison.worst.pair, run.path / SHEET):
            paths["pictures"] = run.path / SHEET
        elif not options.quiet:
            console.print(Text(f"no contact sheet: {comparison.worst.pair.run} kept no pictures"), soft_wrap=True)
        geometry = run.path / GEOMETRY if comparison.audit.draw(run.path / GEOMETRY) else None
        if geometry is not None:
            paths["geometry"] = geometry
        write_page(comparison, gates, run.path / REPORT, geometry)
        run.finish({key: document[key] for key in ("headline", *_SUMMARY)})
    return run.path, paths


def full_document(comparison: Comparison, gates: Sequence[GateResult]) -> dict[str, Any]:
    """Return the comparison, its headline and the gates as JSON values."""
    return {
        "headline": headline(comparison),
        **comparison_document(comparison),
        "gates": [dataclasses.asdict(gate) for gate in gates],
    }
