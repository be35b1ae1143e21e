"""A resolved profile as a result: what ``--dry-run`` and ``geotrap profiles show`` print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

    from geotrap_cli.profile import LoadedProfile


class CommandPlan(Protocol):
    """What a command would do."""

    def payload(self) -> dict[str, Any]:
        """The plan for ``--json``."""

    def lines(self) -> list[str]:
        """The plan for people."""


@dataclass(frozen=True)
class ResolvedProfile:
    """A profile with the origin of each value, and what a command would do with it."""

    loaded: LoadedProfile
    plan: CommandPlan | None = None

    def payload(self) -> dict[str, Any]:
        """Tables, origins and, for a command, its plan."""
        loaded = self.loaded
        resolved = {"profile": loaded.profile.tables(), "origins": loaded.origins, "source": loaded.source}
        return resolved if self.plan is None else resolved | {"plan": self.plan.payload()}

    def render(self, console: Console) -> None:
        """The profile as TOML, which loads back: the plan stands below it in comments."""
        from geotrap_cli.profile import dump_toml

        console.print(f"# {self.loaded.source}", markup=False, soft_wrap=True)
        console.print(dump_toml(self.loaded.profile, self.loaded.origins), markup=False, end="", soft_wrap=True)
        if self.plan is not None:
            comments = "\n".join(f"# {line}" for line in ["", *self.plan.lines()])
            console.print(comments, markup=False, highlight=False, soft_wrap=True)
