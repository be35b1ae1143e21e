"""``geotrap compare``: ratio tables, recovery curves and the verdict of an attack run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.atomic import write_text
from geotrap_cli.errors import GeotrapError, NotValid, UsageError
from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.evaluation.validity import State
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.attack_runs import Selection, attack_summary, select_runs
from geotrap_cli.reports.compare_files import full_document, write_comparison
from geotrap_cli.reports.comparison import Comparison, compare_attacks
from geotrap_cli.reports.gates import GateResult, check_gates, check_names, gate_failure, parse_gates
from geotrap_cli.reports.judgement import labels
from geotrap_cli.reports.request import CompareRequest
from geotrap_cli.reports.screen import print_end, print_tables, print_verdict
from geotrap_cli.reports.stored_pairs import select_stored
from geotrap_cli.reports.tables import to_csv
from geotrap_cli.reports.wording import next_command
from geotrap_cli.runs import open_run


@dataclass(frozen=True)
class CompareResult:
    """A finished comparison.

    Attributes:
        comparison: What was found.
        run: The folder it was written to.
        files: What lies there, by what it is.
        gates: What became of the conditions of ``--gate``.
        failure: Raised once the result is shown: a gate failed, or the verdict is not VALID where it has to be.
        details: Whether every table is printed.
    """

    comparison: Comparison
    run: Path
    files: dict[str, Path]
    gates: list[GateResult]
    failure: GeotrapError | None
    details: bool = False

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        files = {name: str(path) for name, path in self.files.items()}
        return {"run": str(self.run), **full_document(self.comparison, self.gates), "files": files}

    def render(self, console: Console) -> None:
        """Print the verdict, what stands against it, the tables, and where the report and the pictures are."""
        print_verdict(self.comparison, console)
        print_tables(self.comparison, console, self.details)
        print_end(self.comparison, self.gates, self.files, console, self.details)


@dataclass(frozen=True)
class CompareDryRun:
    """What ``--dry-run`` shows: which runs would be compared."""

    selection: Selection

    def payload(self) -> dict[str, Any]:
        """Return the runs and attacks."""
        pairs = self.selection.pairs
        attacks = {label: str(pair.run) for label, pair in zip(labels(pairs), pairs, strict=True)}
        return {"attacks": attacks, "train_run": self.selection.train_run, "notes": self.selection.notes}

    def render(self, console: Console) -> None:
        """Print one line a run."""
        for note in self.selection.notes:
            console.print(Text(note), soft_wrap=True)


def run_compare(
    options: CommonOptions, console: Console, request: CompareRequest | None = None
) -> CompareResult | CompareDryRun:
    """Compare both sets of weights under every attack, and write a run folder.

    Args:
        options: What the user asked for.
        console: Where to say which runs were taken.
        request: Which cells, and what is to hold of them.

    Raises:
        UsageError: There is no finished attack run, its cells are missing, broken or not comparable, or a gate is on a
            number that does not exist.
    """
    request = request or CompareRequest()
    gates = parse_gates(request.gates)
    selection = _select(options, request)
    if options.dry_run:
        return CompareDryRun(selection)
    if not options.quiet:
        for note in selection.notes:
            console.print(Text(note), soft_wrap=True)
    evaluation = selection.profile.eval
    seed = selection.profile.data.seed if options.seed is None else options.seed
    comparison = compare_attacks(selection, Resampling(seed, evaluation.bootstrap))
    check_names(gates, comparison.numbers)
    results = check_gates(gates, comparison.numbers)
    run, files = write_comparison(comparison, results, options, console)
    if request.csv is not None:
        write_text(request.csv, to_csv(comparison.records()))
        files["copy of the table"] = request.csv
    failure = gate_failure(results) or (_failure(comparison) if request.require_valid else None)
    return CompareResult(comparison, run, files, results, failure, request.details)


def _select(options: CommonOptions, request: CompareRequest) -> Selection:
    if not request.stores:
        return select_runs(options, request.runs)
    if not request.runs:
        return select_stored(request.stores)
    if len(request.runs) > 1:
        raise UsageError("--store takes the weights of one --run, and several were given", hint="name one run")
    return select_stored(request.stores, str(attack_summary(open_run(request.runs[0]))["weights"]["defended"]))


def _failure(comparison: Comparison) -> GeotrapError | None:
    if comparison.verdict.state is State.VALID:
        return None
    why = comparison.verdict.reasons[0].text
    return NotValid(f"the verdict is {comparison.verdict.state}: {why}", hint=f"next: {next_command(comparison)}")
