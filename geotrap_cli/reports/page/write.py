"""Put a comparison into the page: the numbers are those of the terminal and of the JSON, by the same functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geotrap_cli import __version__
from geotrap_cli.atomic import write_text
from geotrap_cli.reports.attack_tables import detail_tables
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.gates import GateResult
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.layout import TextTable
from geotrap_cli.reports.page.curves import recovery_charts, search_chart
from geotrap_cli.reports.page.facts import CellFacts, cell_facts, relative
from geotrap_cli.reports.page.heat import heat_rows
from geotrap_cli.reports.page.links import ALL_CELLS, DEFENSE, Links
from geotrap_cli.reports.page.pictures import galleries, png_uri
from geotrap_cli.reports.page.tables import controls_table, cost_table, health_table
from geotrap_cli.reports.page.tiles import tiles
from geotrap_cli.reports.page.words import MEANING, belief
from geotrap_cli.reports.suite_tables import numbers_table, overview_table, resistance_table, seeds_table
from geotrap_cli.reports.tuning_curves import tuning_table
from geotrap_cli.reports.wording import attacks_not_run, headline, next_command, other_reasons, outcome, reasons

CURVES_SHOWN = 12

Href = Callable[[int, str], str]


@dataclass(frozen=True)
class LinkedTable:
    """A table, and where the text of a row and a column leads; an empty anchor for what is no number."""

    table: TextTable
    href: Href


@dataclass(frozen=True)
class AttackSection:
    """Everything about one attack."""

    attack: JudgedAttack
    anchor: str
    doubts: list[str]
    tables: list[LinkedTable]
    cells: list[CellFacts]


def write_page(comparison: Comparison, gates: Sequence[GateResult], path: Path, geometry: Path | None = None) -> None:
    """Write the report to ``path``, atomically.

    Args:
        comparison: What was found.
        gates: What became of the conditions of ``--gate``.
        path: The file; run folders are told relative to its folder.
        geometry: The picture of the geometry, where one was drawn.

    Raises:
        UsageError: The pictures of a run cannot be read.
    """
    write_text(path, page_template("report.html.j2").render(**_context(comparison, gates, path.parent, geometry)))


def _context(
    comparison: Comparison, gates: Sequence[GateResult], folder: Path, geometry: Path | None
) -> dict[str, Any]:
    links = Links(comparison)
    pictures, without = galleries(comparison)
    return {
        "version": __version__,
        "comparison": comparison,
        "profile": comparison.selection.profile,
        "headline": headline(comparison),
        "outcome": outcome(comparison),
        "belief": belief(comparison),
        "meaning": MEANING,
        "reasons": reasons(comparison),
        "tiles": tiles(comparison, links),
        "gates": gates,
        "main": _main_tables(comparison, links),
        "curves": [recovery_charts(comparison, attack) for attack in comparison.attacks[:CURVES_SHOWN]],
        "sides": list(dict.fromkeys(side for attack in comparison.attacks for side in attack.statistics.recovery)),
        "search": search_chart(comparison),
        "budgets": comparison.budgets.budgets,
        "heat": heat_rows(comparison),
        "links": links,
        "galleries": pictures,
        "no_pictures": without,
        "layers": comparison.layers,
        "health": _by_attack(health_table(comparison), links),
        "costs": _by_attack(cost_table(comparison), links),
        "controls": LinkedTable(controls_table(comparison), lambda *_: links.attack(comparison.worst.label)),
        "audit": [LinkedTable(table, lambda *_: DEFENSE) for table in comparison.audit.tables()],
        "geometry": None if geometry is None else png_uri(geometry),
        "sections": _sections(comparison, links, folder),
        "attacks_not_run": _not_run(comparison),
        "train_run": relative(comparison.selection.train_run, folder),
        "next": next_command(comparison),
    }


def _main_tables(comparison: Comparison, links: Links) -> list[LinkedTable]:
    labels = [attack.label for attack in comparison.attacks]
    # The last line of both is the worst case, which is that of the first attack.
    rows = [*labels, comparison.worst.label]
    in_attack = _in_rows(rows, links)
    numbers = numbers_table(comparison)
    found = [
        LinkedTable(overview_table(comparison), in_attack),
        LinkedTable(resistance_table(comparison), in_attack),
        LinkedTable(numbers, lambda row, _: links.of(comparison.numbers[numbers.rows[row][0]])),
    ]
    seeds = seeds_table(comparison)
    if seeds is not None:
        found.insert(2, LinkedTable(seeds, _in_rows([series.trials[0] for series in comparison.series], links)))
    tuning = tuning_table(comparison.tuning)
    return [*found, *([LinkedTable(tuning, lambda *_: ALL_CELLS)] if tuning is not None else [])]


def _in_rows(labels: Sequence[str], links: Links) -> Href:
    def href(row: int, column: str) -> str:
        first = column.split()[0]
        return links.cell(labels[row], first) if first in ("undefended", "defended") else links.attack(labels[row])

    return href


def _by_attack(table: TextTable, links: Links) -> LinkedTable:
    """Return a table whose first two columns name the attack and the weights."""
    return LinkedTable(table, lambda row, _: links.cell(table.rows[row][0], table.rows[row][1]))


def _sections(comparison: Comparison, links: Links, folder: Path) -> list[AttackSection]:
    facts = cell_facts(comparison, links, folder)

    def section(attack: JudgedAttack) -> AttackSection:
        def href(_: int, column: str) -> str:
            return links.in_column(attack, column)

        tables = [LinkedTable(table, href) for table in detail_tables(comparison, attack)]
        anchor = links.attack(attack.label)
        return AttackSection(attack, anchor, other_reasons(comparison, attack), tables, facts[attack.label])

    return [section(attack) for attack in comparison.attacks]


def _not_run(comparison: Comparison) -> list[tuple[str, str]]:
    """Return key and summary of each installed attack that was not run."""
    from geotrap_cli.plugins import list_plugins

    summaries = {plugin.key: plugin.summary for plugin in list_plugins("geotrap.attacks")}
    return [(key, summaries.get(key, "")) for key in sorted(attacks_not_run(comparison))]


@functools.cache
def page_template(name: str) -> Any:
    """Return a template of this package; pages share style and macros."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("geotrap_cli.reports.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"all_cells": ALL_CELLS, "defense": DEFENSE}
    return environment.get_template(name)
