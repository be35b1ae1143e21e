"""The run folder of several processes: the first one writes it, the others look on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.run_folder import MANIFEST, RunFolder
from geotrap_cli.runs import create_or_resume
from geotrap_cli.training.processes import Processes


class FollowedRun(RunFolder):
    """A run that another process writes: what would be written is left to it."""

    def __enter__(self) -> FollowedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.run_path = self.path  # type: ignore[attr-defined]

    def record(self, **entries: Any) -> None:
        """Leave it to the writer."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Leave it to the writer."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Leave it to the writer."""


def create_or_resume_shared(
    processes: Processes, command: str, options: CommonOptions, loaded: LoadedProfile
) -> RunFolder:
    """Return the run that ``command`` writes to, as :func:`geotrap_cli.runs.create_or_resume`, for every process.

    Raises:
        UsageError: ``--resume`` was given and there is no such unfinished run, or this machine does not see the folder.
    """
    run = create_or_resume(command, options, loaded) if processes.main else None
    # None goes on before all have looked for the run to resume, which says another status once it is entered.
    path = Path(processes.told(str(run.path.resolve()) if run else ""))
    if run is not None:
        return run
    if not (path / MANIFEST).is_file():
        what = f"process {processes.index} does not see {path}, the run that process 0 writes"
        raise UsageError(what, "Choose a folder that all machines share with --runs")
    return FollowedRun(path)
