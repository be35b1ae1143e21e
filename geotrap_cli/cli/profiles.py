"""``geotrap profiles list | show | copy | validate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotrap_cli.cli.examples import HELP, epilog
from geotrap_cli.cli.options import LISTING, accepts
from geotrap_cli.cli.output import show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = epilog(
    "geotrap profiles list",
    "geotrap profiles show pos_opacity",
    "geotrap profiles copy pos_opacity mine.toml",
    "geotrap profiles validate mine.toml",
    next_step="geotrap train --profile mine.toml",
)

app = typer.Typer(
    help="List, show, copy and check profiles.", epilog=EPILOG, no_args_is_help=True, context_settings=HELP
)

ProfileName = Annotated[str, typer.Argument(metavar="PROFILE", help="Path or shipped name.")]


@dataclass(frozen=True)
class ProfileList:
    """The shipped profiles."""

    rows: list[dict[str, str]]

    def payload(self) -> dict[str, Any]:
        """Name, purpose and path of each."""
        return {"profiles": self.rows}

    def render(self, console: Console) -> None:
        """One row a profile."""
        from rich.table import Table

        table = Table("profile", "what it is for", box=None, header_style="bold")
        for row in self.rows:
            table.add_row(row["name"], row["purpose"])
        console.print(table)


@dataclass(frozen=True)
class Note:
    """One sentence and its facts."""

    text: str
    facts: dict[str, Any]

    def payload(self) -> dict[str, Any]:
        """The facts."""
        return self.facts

    def render(self, console: Console) -> None:
        """The sentence."""
        console.print(self.text, soft_wrap=True)


@app.command("list", epilog=EPILOG, context_settings=HELP)
@accepts(*LISTING)
def list_(options: CommonOptions) -> None:
    """List the profiles that come with the program."""
    from geotrap_cli.profile.files import purpose, shipped_profiles

    rows = [{"name": name, "purpose": purpose(path), "path": str(path)} for name, path in shipped_profiles().items()]
    show(options, ProfileList(rows))


@app.command("show", epilog=EPILOG, context_settings=HELP)
@accepts("overrides", *LISTING)
def show_(options: CommonOptions, profile: ProfileName) -> None:
    """Show a profile with every value and where it comes from."""
    from geotrap_cli.profile import load_profile

    show(options, ResolvedProfile(load_profile(profile, options.overrides, complete=False)))


@app.command("copy", epilog=EPILOG, context_settings=HELP)
@accepts(*LISTING)
def copy(
    options: CommonOptions,
    profile: ProfileName,
    target: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; none: its name here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a profile to a file of your own, to change it."""
    from geotrap_cli.atomic import write_text
    from geotrap_cli.profile import find_profile

    source = find_profile(profile)
    destination = target or Path(source.name)
    if destination.is_dir():
        destination = destination / source.name
    if destination.exists() and not force:
        raise UsageError(f"{destination} exists", hint="choose another name, or replace it with --force")
    write_text(destination, source.read_text(encoding="utf-8"))
    text = f"copied to {destination}; check it with `geotrap profiles validate {destination}`"
    show(options, Note(text, {"profile": source.stem, "path": str(destination)}))


@app.command("validate", epilog=EPILOG, context_settings=HELP)
@accepts("overrides", *LISTING)
def validate(options: CommonOptions, profile: ProfileName) -> None:
    """Check a profile and tell everything that is wrong with it at once."""
    from geotrap_cli.profile import load_profile

    loaded = load_profile(profile, options.overrides)
    show(options, Note(f"{loaded.source} is valid", {"valid": True, "source": loaded.source, "path": str(loaded.path)}))
