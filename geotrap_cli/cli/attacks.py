"""``geotrap attacks``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.methods import MethodLine, method_table, read_methods
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = epilog(
    "geotrap attacks",
    "geotrap attacks --json",
    next_step="geotrap attack NAME..., or geotrap attack --suite quick",
)


@dataclass(frozen=True)
class AttackList:
    """Every attack that can be run, and the suites."""

    attacks: Sequence[MethodLine]
    suites: Mapping[str, Sequence[str]]

    def payload(self) -> dict[str, Any]:
        """Return all attacks and suites."""
        return {"attacks": [attack.payload() for attack in self.attacks], "suites": dict(self.suites)}

    def render(self, console: Console) -> None:
        """Print one row an attack and one line a suite."""
        from rich.table import Table

        console.print(method_table(self.attacks, ("what the attacker has", "source", "budget")))
        suites = Table.grid(padding=(0, 2, 0, 0))
        for name, keys in self.suites.items():
            suites.add_row(f"--suite {name}", "every attack" if name == "full" else ", ".join(keys))
        console.print()
        console.print(suites)


@accepts(*LISTING)
def attacks(options: CommonOptions) -> None:
    """List the attacks: what each does, assumes and costs, and where it is from."""
    from geotrap_cli.suites import SUITES

    methods = read_methods(options, "geotrap.attacks", ("assumes", "source", "budget"))
    show(options, AttackList(methods, {name: suite.keys() for name, suite in SUITES.items()}))
