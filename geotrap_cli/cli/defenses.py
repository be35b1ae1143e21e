"""``geotrap defenses``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show, warn
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = epilog(
    "geotrap defenses",
    "geotrap defenses --json",
    next_step="geotrap train --defense NAME, with options in a table [defense.NAME] of the profile",
)


@dataclass(frozen=True)
class DefenseLine:
    """One defense: what it does, what it assumes, what a step costs and where it is from."""

    key: str
    summary: str
    assumes: str
    cost: str
    source: str


@dataclass(frozen=True)
class DefenseList:
    """Every defense that can be trained."""

    defenses: Sequence[DefenseLine]

    def payload(self) -> dict[str, Any]:
        """Return all defenses."""
        return {"defenses": [asdict(line) for line in self.defenses]}

    def render(self, console: Console) -> None:
        """Print one row a defense."""
        from rich.table import Table

        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("key", "what it does", "what it assumes", "cost of a step", "source"):
            table.add_column(name, no_wrap=name == "key")
        for line in self.defenses:
            table.add_row(*asdict(line).values())
        console.print(table)


@accepts(*LISTING)
def defenses(options: CommonOptions) -> None:
    """List the defenses: what each does, assumes and costs, and where it is from."""
    from geotrap_cli.plugins import list_plugins, load_plugin

    lines = []
    for info in list_plugins("geotrap.defenses"):
        if info.error:
            warn(options, f"plug-in {info.key} of package {info.package} is broken: {info.error}")
            continue
        defense = load_plugin("geotrap.defenses", info.key)
        # Other packages' classes may lack what the listing alone reads.
        facts = (getattr(defense, name, "") for name in ("assumes", "cost", "source"))
        lines.append(DefenseLine(info.key, info.summary, *facts))
    show(options, DefenseList(lines))
