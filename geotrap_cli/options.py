"""What every command passes on to the library: the options that commands share, and the form of a result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

    from geotrap_cli.profile.load import LoadedProfile

LATEST = "latest"


def split_names(words: Iterable[str]) -> tuple[str, ...]:
    """Names from words that may each hold several, separated by commas: in order, each once."""
    return tuple(dict.fromkeys(name.strip() for word in words for name in word.split(",") if name.strip()))


class CommandResult(Protocol):
    """What a command found. It may also have ``failure``, an error that ends the command once the result is shown."""

    def payload(self) -> dict[str, Any]:
        """The result for ``--json``."""

    def render(self, console: Console) -> None:
        """Write the result for people."""


@dataclass(frozen=True)
class CommonOptions:
    """What the user asked for, apart from what only one command knows.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda:N``.
        seed: Stands in for the profile's seed of the command; None: the profile's.
        json: Results as JSON on stdout.
        quiet: No progress on stderr.
        debug: Tracebacks.
        dry_run: Say what would be done, and write nothing.
        runs: Folder of all runs; None: ``GEOTRAP_RUNS``, else ``./runs``.
        run: The run to work on; None: the newest finished one of the kind needed.
        resume: ``latest`` or the path of the run to continue; None: a new run.
        profile: Path or shipped name; None: the command's default.
        overrides: The arguments of ``--set``.
    """

    device: str = "auto"
    seed: int | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False
    dry_run: bool = False
    runs: Path | None = None
    run: Path | None = None
    resume: str | None = None
    profile: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def runs_root(self) -> Path:
        """The folder of all runs."""
        from geotrap_cli.runs import runs_root

        return runs_root(self.runs)

    @property
    def resume_path(self) -> Path | None:
        """The run named by ``--resume``; None when it says ``latest`` or was not given."""
        return None if self.resume in (None, LATEST) else Path(str(self.resume))

    def with_overrides(self, *overrides: str) -> CommonOptions:
        """The same options with further ``--set`` arguments."""
        return dataclasses.replace(self, overrides=(*self.overrides, *overrides))

    def load_profile(
        self, command: str, default: str | Path | None = None, seed_table: str = "train", suite: bool = False
    ) -> LoadedProfile:
        """The profile ``command`` works with: the resumed run's, ``--profile``, that of ``--run``, else ``default``.

        Args:
            command: The command, to find the run that ``--resume`` means.
            default: Path or shipped name; None: the program's default profile.
            seed_table: The table whose seed ``--seed`` sets.
            suite: Whether a suite chooses the controls where the profile names none.

        Raises:
            UsageError: A run or a profile is missing, or a value is wrong.
        """
        from geotrap_cli.profile.load import DEFAULT_PROFILE, load_profile
        from geotrap_cli.runs import open_run, resumable_run

        if self.resume:
            # Neither --set nor the environment may change a run that is under way.
            run = resumable_run(self.resume_path, command, self.runs_root)
            return dataclasses.replace(load_profile(run.profile_path, env={}), name=run.profile_name)
        seed = () if self.seed is None else (f"{seed_table}.seed={self.seed}",)
        overrides = (*self.overrides, *seed)
        if self.profile is not None or not self.run:
            chosen = (default or DEFAULT_PROFILE) if self.profile is None else self.profile
            return load_profile(chosen, overrides, suite=suite)
        run = open_run(self.run)
        return dataclasses.replace(load_profile(run.profile_path, overrides, suite=suite), name=run.profile_name)
