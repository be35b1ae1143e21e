"""``geotrap attacks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show, warn
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = epilog(
    "geotrap attacks",
    "geotrap attacks --json",
    next_step="geotrap attack NAME..., or geotrap attack --suite quick",
)


@dataclass(frozen=True)
class AttackLine:
    """One attack: what it does, what it assumes, where it is from and what it costs the attacker."""

    key: str
    summary: str
    assumes: str
    source: str
    budget: str


@dataclass(frozen=True)
class AttackList:
    """Every attack that can be run, and the suites."""

    attacks: Sequence[AttackLine]
    suites: Mapping[str, Sequence[str]]

    def payload(self) -> dict[str, Any]:
        """Return all attacks and suites."""
        return {"attacks": [asdict(line) for line in self.attacks], "suites": dict(self.suites)}

    def render(self, console: Console) -> None:
        """Print one row an attack and one line a suite."""
        from rich.table import Table

        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("key", "what it does", "what the attacker has", "source", "budget"):
            table.add_column(name, no_wrap=name == "key")
        for line in self.attacks:
            table.add_row(*asdict(line).values())
        console.print(table)
        suites = Table.grid(padding=(0, 2, 0, 0))
        for name, keys in self.suites.items():
            suites.add_row(f"--suite {name}", "every attack" if name == "full" else ", ".join(keys))
        console.print()
        console.print(suites)


@accepts(*LISTING)
def attacks(options: CommonOptions) -> None:
    """List the attacks: what each does, assumes and costs, and where it is from."""
    from geotrap_cli.plugins import list_plugins, load_plugin
    from geotrap_cli.suites import SUITES

    lines = []
    for info in list_plugins("geotrap.attacks"):
        if info.error:
            warn(options, f"plug-in {info.key} of package {info.package} is broken: {info.error}")
            continue
        attack = load_plugin("geotrap.attacks", info.key)
        # Other packages' classes may lack what the listing alone reads.
        facts = (getattr(attack, name, "") for name in ("assumes", "source", "budget"))
        lines.append(AttackLine(info.key, info.summary, *facts))
    show(options, AttackList(lines, {name: suite.keys() for name, suite in SUITES.items()}))
