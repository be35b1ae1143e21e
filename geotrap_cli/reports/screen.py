"""What `geotrap compare` prints: the verdict and what it rests on first; every other table only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.reports.attack_tables import before_and_after, detail_tables
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.control_tables import control_table
from geotrap_cli.reports.gates import GateResult
from geotrap_cli.reports.suite_tables import (
    key_numbers,
    numbers_table,
    overview_table,
    resistance_table,
    search_line,
    seeds_table,
)
from geotrap_cli.reports.tuning_curves import tuning_table
from geotrap_cli.reports.wording import (
    headline,
    next_command,
    not_tested_in_short,
    other_reasons,
    reasons,
    shown,
)

_OVERVIEW = 10
"""Attacks that the first screen has a line for, those that recover most."""
_SHOWN_METRICS = (HEADLINE, "ssim", "lpips", "lpips_custom_trunk")


def print_verdict(comparison: Comparison, console: Console) -> None:
    """Print who won, by how much, and what stands against believing it."""
    console.print(Text(headline(comparison), style="bold"))
    for reason in reasons(comparison):
        console.print(Text(f"  {reason}"))


def print_tables(comparison: Comparison, console: Console, details: bool) -> None:
    """Print the tables that the verdict comes down to, or with ``details`` all there are."""
    for block in _everything(comparison) if details else _main(comparison):
        console.print()
        console.print(block)


def print_end(
    comparison: Comparison, gates: Sequence[GateResult], files: dict[str, Path], console: Console, details: bool
) -> None:
    """Print what became of the gates, what was not tested, where the files are, and what to do next."""
    console.print()
    for gate in gates:
        console.print(Text(f"gate {'passed' if gate.passed else 'failed'}: {gate.condition}: {gate.reason}"))
    not_tested = "; ".join(comparison.not_tested) if details else not_tested_in_short(comparison)
    console.print(Text(f"not tested: {not_tested}"))
    for name, path in files.items():
        console.print(Text(f"{name}: {shown(path)}"), soft_wrap=True)
    if not details:
        console.print(Text("more: geotrap compare --details prints every table, the report shows them with pictures"))
    console.print(Text(f"next: {next_command(comparison)}"), soft_wrap=True)


def _main(comparison: Comparison) -> Iterator[RenderableType]:
    yield overview_table(comparison, _OVERVIEW)
    yield numbers_table(comparison, key_numbers(comparison))
    yield from _where_run(comparison)
    yield before_and_after(comparison, comparison.worst, _SHOWN_METRICS)
    if len(comparison.attacks) > 1:
        yield Text(search_line(comparison))
    yield from comparison.audit.tables()


def _everything(comparison: Comparison) -> Iterator[RenderableType]:
    yield overview_table(comparison)
    yield resistance_table(comparison)
    yield from _where_run(comparison)
    yield Text(search_line(comparison))
    yield numbers_table(comparison)
    for attack in comparison.attacks:
        yield from (Text(reason) for reason in other_reasons(comparison, attack))
    for attack in comparison.attacks:
        yield from detail_tables(comparison, attack)
    yield from comparison.audit.tables()
    yield from (Text(f"not measured: {missing}") for missing in comparison.audit.missing)


def _where_run(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield the tables of what not every comparison has: several seeds, controls, searches."""
    tables = (seeds_table(comparison), control_table(comparison.controls), tuning_table(comparison.tuning))
    yield from (table for table in tables if table is not None)
