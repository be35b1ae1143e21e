"""How every table of the program looks: no frame, numbers at the right, text taken literally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

Justify = JustifyMethod


def make_table(title: str, columns: Mapping[str, Justify], rows: Sequence[Sequence[str]], caption: str = "") -> Group:
    """Return a table of texts between its title and its caption.

    Args:
        title: Above it.
        columns: Headers and how their cells are aligned.
        rows: One text for each column.
        caption: Below it; empty: none.
    """
    table = Table(box=box.SIMPLE, padding=(0, 1), show_edge=False, pad_edge=False)
    # Names come from data sets and plug-ins: as Text, a bracket in them is a bracket and no markup.
    for name, justify in columns.items():
        table.add_column(Text(name), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Title and caption stand outside, because a narrow table would break their lines.
    return Group(Text(title, style="bold"), table, *([Text(caption, style="dim")] if caption else []))
