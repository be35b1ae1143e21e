"""The table of the methods that a plug-in group holds: what each does, and the facts that its class states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.cli.output import warn
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class MethodLine:
    """One method.

    Attributes:
        key: What it is called by.
        summary: What it does, in one line.
        facts: What its class states of it, by the name of the attribute; empty where another package's class does not.
    """

    key: str
    summary: str
    facts: Mapping[str, str]

    def payload(self) -> dict[str, Any]:
        """Return key, summary and facts in one table."""
        return {"key": self.key, "summary": self.summary, **self.facts}


def read_methods(options: CommonOptions, group: str, facts: Sequence[str]) -> list[MethodLine]:
    """Return every method of a plug-in group with those facts, and warn of each that cannot be loaded."""
    from geotrap_cli.plugins import list_plugins, load_plugin

    lines = []
    for info in list_plugins(group):
        if info.error:
            warn(options, f"plug-in {info.key} of package {info.package} is broken: {info.error}")
            continue
        method = load_plugin(group, info.key)
        lines.append(MethodLine(info.key, info.summary, {name: str(getattr(method, name, "")) for name in facts}))
    return lines


def method_table(methods: Sequence[MethodLine], titles: Sequence[str]) -> Table:
    """Return one row a method: its key, what it does, and its facts under ``titles``."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("key", "what it does", *titles):
        table.add_column(title, no_wrap=title == "key")
    for method in methods:
        table.add_row(method.key, method.summary, *method.facts.values())
    return table
