"""How every table of the program looks: no frame, numbers at the right, text taken literally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

Justify = JustifyMethod


@dataclass(frozen=True)
class TextTable:
    """A table of texts between its title and its caption, for the terminal (rich prints it) and for pages.

    Attributes:
        title: Above it.
        columns: Headers and how their cells are aligned.
        rows: One text for each column.
        caption: Below it; empty: none.
    """

    title: str
    columns: Mapping[str, Justify]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.SIMPLE, padding=(0, 1), show_edge=False, pad_edge=False)
        # Names come from data sets and plug-ins: as Text, a bracket in them is a bracket and no markup.
        for name, justify in self.columns.items():
            table.add_column(Text(name), justify=justify, overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        # Title and caption stand outside, because a narrow table would break their lines.
        yield Text(self.title, style="bold")
        yield table
        if self.caption:
            yield Text(self.caption, style="dim")
