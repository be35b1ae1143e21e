"""``geotrap defenses``."""

from __future__ import annotations

from collections.abc import Sequence
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
    "geotrap defenses",
    "geotrap defenses --json",
    next_step="geotrap train --defense NAME, with options in a table [defense.NAME] of the profile",
)


@dataclass(frozen=True)
class DefenseList:
    """Every defense that can be trained."""

    defenses: Sequence[MethodLine]

    def payload(self) -> dict[str, Any]:
        """Return all defenses."""
        return {"defenses": [defense.payload() for defense in self.defenses]}

    def render(self, console: Console) -> None:
        """Print one row a defense."""
        console.print(method_table(self.defenses, ("what it assumes", "cost of a step", "source")))


@accepts(*LISTING)
def defenses(options: CommonOptions) -> None:
    """List the defenses: what each does, assumes and costs, and where it is from."""
    show(options, DefenseList(read_methods(options, "geotrap.defenses", ("assumes", "cost", "source"))))
