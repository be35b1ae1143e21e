"""``geotrap runs``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = epilog(
    "geotrap runs",
    "geotrap runs --runs elsewhere --json",
    next_step="geotrap attack --run PATH, geotrap compare --run PATH or geotrap train --resume PATH",
)

_COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow", "failed": "red"}


@dataclass(frozen=True)
class RunList:
    """The runs of a folder, the newest first."""

    root: str
    rows: list[dict[str, Any]]

    def payload(self) -> dict[str, Any]:
        """All rows."""
        return {"root": self.root, "runs": self.rows}

    def render(self, console: Console) -> None:
        """One row a run, or what to do when there is none."""
        from rich.table import Table
        from rich.text import Text

        if not self.rows:
            console.print(f"no runs in {self.root}; make one with `geotrap train`")
            return
        table = Table("run", "command", "profile", "status", "age", box=None, header_style="bold")
        now = datetime.now(timezone.utc)
        for row in self.rows:
            status = Text(row["status"], style=_COLOURS.get(row["status"], "red"))
            age = describe_age(now - datetime.fromisoformat(row["created"]))
            table.add_row(row["run"], row["command"], row["profile"], status, age)
        console.print(table)


def describe_age(age: timedelta) -> str:
    """An age in its largest unit: ``3 h``."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@accepts("runs", *LISTING)
def runs(options: CommonOptions) -> None:
    """List run folders: command, profile, status and age, the newest first."""
    from geotrap_cli.runs import list_runs

    root = options.runs_root
    rows = [
        {
            "run": run.name,
            "path": str(run.path),
            "command": run.command,
            "profile": run.manifest.get("profile", ""),
            "status": run.status,
            "created": run.manifest["created"],
        }
        for run in list_runs(root)
    ]
    show(options, RunList(str(root), rows))
