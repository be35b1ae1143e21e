"""The few numbers of the first screen, each with what it means and where it is from."""

from __future__ import annotations

from dataclasses import dataclass

from geotrap_cli.evaluation.cells import DEFENDED
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.page.links import Links
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.suite_tables import number_text
from geotrap_cli.reports.tables import format_number
from geotrap_cli.reports.wording import format_share


@dataclass(frozen=True)
class Tile:
    """One number."""

    label: str
    value: str
    note: str
    anchor: str


def tiles(comparison: Comparison, links: Links) -> list[Tile]:
    """Return what a reader needs to know who won, by how much and at what price."""
    worst, scale, numbers = comparison.worst, comparison.scale, comparison.numbers
    count = len(comparison.attacks)
    strongest = f"the strongest of {count} attacks" if count > 1 else "the only attack run"
    share = f"{100 * comparison.threshold:g}"
    slow_down, source = numbers[f"worst_slow_down_{share}"], numbers["source_change_db"]
    reached = format_number(best_quality(worst.pair, DEFENDED))
    scale_note = f"{format_number(scale.floor_db)} dB is a white image, {format_number(scale.ceiling_db)} dB the best"
    return [
        Tile("recovered", format_share(worst.peak), f"by {worst.label}, {strongest}", links.attack(worst.label)),
        Tile(
            "quality the attacker gets",
            f"{reached} dB",
            f"{scale_note} without a defense",
            links.cell(worst.label, DEFENDED),
        ),
        Tile(
            f"times slower to {share}%",
            number_text(slow_down),
            slow_down.missing or "defended ÷ undefended steps",
            links.of(slow_down),
        ),
        Tile(
            "cost on source objects",
            "n/a" if source.missing else f"{number_text(source)} dB",
            source.missing or "what the owner gives up",
            links.of(source),
        ),
    ]
