"""``geotrap plugins``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show, warn
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

    from geotrap_cli.plugins import PluginInfo

EPILOG = epilog(
    "geotrap plugins",
    "geotrap plugins attacks --json",
    "GEOTRAP_PLUGINS=off geotrap plugins",
    next_step="geotrap attack KEY, or a table [traps.KEY] in a profile",
)


@dataclass(frozen=True)
class PluginList:
    """The plug-ins found, broken ones included."""

    plugins: list[PluginInfo]

    def payload(self) -> dict[str, Any]:
        """All fields of all plug-ins."""
        return {"plugins": [asdict(plugin) for plugin in self.plugins]}

    def render(self, console: Console) -> None:
        """One row a plug-in."""
        from rich.table import Table
        from rich.text import Text

        table = Table("key", "group", "package", "version", "what it does", box=None, header_style="bold")
        for plugin in self.plugins:
            what = Text.assemble(("broken:", "red"), f" {plugin.error}") if plugin.error else Text(plugin.summary)
            table.add_row(plugin.key, plugin.group, plugin.package, plugin.version, what)
        console.print(table)


@accepts(*LISTING)
def plugins(
    options: CommonOptions,
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="traps, attacks, ...; none: all.")] = None,
) -> None:
    """List traps, attacks, data sets, models and defenses, with the package each comes from."""
    from geotrap_cli.plugins import list_plugins

    found = list_plugins(_full_group(group))
    for plugin in found:
        if plugin.error:
            warn(options, f"plug-in {plugin.key} of package {plugin.package} is broken: {plugin.error}")
    show(options, PluginList(found))


def _full_group(group: str | None) -> str | None:
    from geotrap_cli.plugins import GROUPS, suggestion

    if group is None:
        return None
    full = group if group.startswith("geotrap.") else f"geotrap.{group}"
    if full not in GROUPS:
        names = [name.removeprefix("geotrap.") for name in GROUPS]
        raise UsageError(f"unknown group '{group}'", hint=suggestion(group, names))
    return full
