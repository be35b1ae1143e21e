"""A resolved profile as a result: what ``--dry-run`` and ``geotrap profiles show`` print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from geotrap_cli.profile import LoadedProfile


@dataclass(frozen=True)
class ResolvedProfile:
    """A profile with the origin of each value."""

    loaded: LoadedProfile

    def payload(self) -> dict[str, Any]:
        """Tables and origins."""
        loaded = self.loaded
        return {"profile": loaded.profile.tables(), "origins": loaded.origins, "source": loaded.source}

    def render(self, console: Console) -> None:
        """The profile as TOML, which loads back."""
        from geotrap_cli.profile import dump_toml

        console.print(f"# {self.loaded.source}", markup=False, soft_wrap=True)
        console.print(dump_toml(self.loaded.profile, self.loaded.origins), markup=False, end="", soft_wrap=True)
