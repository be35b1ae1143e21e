"""``geotrap compare``: ratio tables, recovery curves and the verdict of an attack run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.errors import GeotrapError, NotValid
from geotrap_cli.evaluation.validity import State
from geotrap_cli.options import CommonOptions
from geotrap_cli.provenance import record_environment
from geotrap_cli.reports.attack_pictures import draw_curves, draw_sheet
from geotrap_cli.reports.attack_runs import Selection, select_runs
from geotrap_cli.reports.attack_tables import detail_tables, overview_table
from geotrap_cli.reports.comparison import Comparison, compare_attacks
from geotrap_cli.reports.scale import Resampling
from geotrap_cli.reports.tables import to_csv
from geotrap_cli.reports.wording import headline, next_command, other_reasons, reasons, shown
from geotrap_cli.runs import create_run

JSON, CSV, CURVES, SHEET = "comparison.json", "comparison.csv", "recovery.png", "sheet.png"


@dataclass(frozen=True)
class CompareResult:
    """A finished comparison.

    Attributes:
        comparison: What was found.
        run: The folder it was written to.
        files: What lies there, by what it is.
        failure: Raised once the result is shown: ``--require-valid`` was given and the verdict is not VALID.
    """

    comparison: Comparison
    run: Path
    files: dict[str, Path]
    failure: GeotrapError | None

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        files = {name: str(path) for name, path in self.files.items()}
        return {
            "run": str(self.run),
            "headline": headline(self.comparison),
            **self.comparison.payload(),
            "files": files,
        }

    def render(self, console: Console) -> None:
        """Print the verdict, what stands against it, all tables, and where the pictures are."""
        console.print(Text(headline(self.comparison), style="bold"))
        for reason in reasons(self.comparison):
            console.print(Text(f"  {reason}"))
        console.print()
        console.print(overview_table(self.comparison))
        for attack in self.comparison.attacks:
            for reason in other_reasons(self.comparison, attack):
                console.print(Text(f"\n{reason}"))
            for table in detail_tables(self.comparison, attack):
                console.print()
                console.print(table)
        console.print(Text(f"\nnot tested: {'; '.join(self.comparison.not_tested)}"))
        for name, path in self.files.items():
            console.print(Text(f"{name}: {shown(path)}"), soft_wrap=True)
        console.print(Text(f"next: {next_command(self.comparison)}"), soft_wrap=True)


@dataclass(frozen=True)
class CompareDryRun:
    """What ``--dry-run`` shows: which runs would be compared."""

    selection: Selection

    def payload(self) -> dict[str, Any]:
        """Return the runs and attacks."""
        attacks = {pair.method: str(pair.run) for pair in self.selection.pairs}
        return {"attacks": attacks, "train_run": self.selection.train_run, "notes": self.selection.notes}

    def render(self, console: Console) -> None:
        """Print one line a run."""
        for note in self.selection.notes:
            console.print(Text(note), soft_wrap=True)


def run_compare(
    options: CommonOptions, console: Console, *, csv: Path | None = None, require_valid: bool = False
) -> CompareResult | CompareDryRun:
    """Compare both sets of weights under every attack of the newest attack run, and write a run folder.

    Args:
        options: What the user asked for.
        console: Where to say which runs were taken.
        csv: Where to put a copy of the table.
        require_valid: Whether a verdict other than VALID is a failure.

    Raises:
        UsageError: There is no finished attack run, or its cells are missing, broken or not comparable.
    """
    selection = select_runs(options)
    if options.dry_run:
        return CompareDryRun(selection)
    if not options.quiet:
        for note in selection.notes:
            console.print(Text(note), soft_wrap=True)
    evaluation = selection.profile.eval
    seed = selection.profile.data.seed if options.seed is None else options.seed
    comparison = compare_attacks(selection, Resampling(seed, evaluation.bootstrap))
    run, files = _write(comparison, options, console)
    if csv is not None:
        write_text(csv, to_csv(comparison.records()))
        files["copy of the table"] = csv
    return CompareResult(comparison, run, files, _failure(comparison) if require_valid else None)


def _write(comparison: Comparison, options: CommonOptions, console: Console) -> tuple[Path, dict[str, Path]]:
    """Write everything into a run folder of its own and return what is where."""
    attack_run = comparison.selection.run
    profile_toml = attack_run.profile_path.read_text(encoding="utf-8")
    facts = {
        "attack_runs": [str(path.resolve()) for path in comparison.selection.runs],
        "train_run": comparison.selection.train_run,
        "weights": comparison.selection.weights,
        "environment": record_environment(),
    }
    with create_run("compare", attack_run.profile_name, profile_toml, options.runs_root, facts) as run:
        files = {"all numbers": run.path / JSON, "table": run.path / CSV, "curves": run.path / CURVES}
        write_json(files["all numbers"], comparison.payload())
        write_text(files["table"], to_csv(comparison.records()))
        draw_curves(comparison, files["curves"])
        if draw_sheet(comparison.worst.pair, run.path / SHEET):
            files["pictures"] = run.path / SHEET
        elif not options.quiet:
            console.print(Text(f"no contact sheet: {comparison.worst.pair.run} kept no pictures"), soft_wrap=True)
        run.finish(_summary(comparison))
    return run.path, files


def _summary(comparison: Comparison) -> dict[str, Any]:
    keys = ("state", "states", "worst_attack", "recovery", "floor", "ceiling", "groups", "attack_runs", "train_run")
    payload = comparison.payload()
    return {"headline": headline(comparison), **{key: payload[key] for key in keys}}


def _failure(comparison: Comparison) -> GeotrapError | None:
    if comparison.verdict.state is State.VALID:
        return None
    why = comparison.verdict.reasons[0].text
    return NotValid(f"the verdict is {comparison.verdict.state}: {why}", hint=f"next: {next_command(comparison)}")
