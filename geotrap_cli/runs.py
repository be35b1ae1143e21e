"""All runs: making a folder, opening one, and finding the latest or the one to continue."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.run_folder import MANIFEST, PROFILE, RunFolder, read_json

if TYPE_CHECKING:
    from geotrap_cli.options import CommonOptions
    from geotrap_cli.profile.load import LoadedProfile

__all__ = [
    "RunFolder",
    "create_or_resume",
    "create_run",
    "folder_name",
    "latest_run",
    "list_runs",
    "open_run",
    "read_json",
    "resumable_run",
    "runs_root",
]

RUNS_VARIABLE = "GEOTRAP_RUNS"


def runs_root(stated: Path | None = None) -> Path:
    """The folder of all runs: ``--runs``, else ``GEOTRAP_RUNS``, else ``./runs``."""
    return Path(stated or os.environ.get(RUNS_VARIABLE) or "runs")


def create_or_resume(command: str, options: CommonOptions, loaded: LoadedProfile) -> RunFolder:
    """The run ``command`` writes to: the one that ``--resume`` means, or a new one; enter it with ``with``.

    Raises:
        UsageError: ``--resume`` was given and there is no such unfinished run.
    """
    if options.resume:
        return resumable_run(options.resume_path, command, options.runs_root)
    # Imported here: reading runs needs neither pydantic nor torch.
    from geotrap_cli.profile.dump import dump_toml
    from geotrap_cli.provenance import record_environment

    text = f"# {loaded.source}\n{dump_toml(loaded.profile, loaded.origins)}"
    facts = {"source": loaded.source, "device": options.device, "environment": record_environment()}
    return create_run(command, loaded.name, text, options.runs_root, facts)


def create_run(
    command: str, profile_name: str, profile_toml: str, root: Path, manifest: Mapping[str, Any] | None = None
) -> RunFolder:
    """Make ``<UTC time>-<command>-<profile>`` under ``root``; enter it with ``with`` to write to it.

    Args:
        command: The command, such as ``train``.
        profile_name: The short name of the profile.
        profile_toml: The profile as resolved, with origins.
        root: The folder of all runs; made when missing.
        manifest: Further entries of the manifest (ids, seeds, hashes, ...).
    """
    created = datetime.now(timezone.utc)
    path = _new_folder(root, folder_name(f"{created:%Y%m%dT%H%M%SZ}", command, profile_name))
    write_text(path / PROFILE, profile_toml)
    entries = {"command": command, "profile": profile_name, "created": created.isoformat(), "status": "running"}
    write_json(path / MANIFEST, entries | dict(manifest or {}))
    return RunFolder(path)


def folder_name(time: str, command: str, profile_name: str) -> str:
    """The name of the folder of a run that begins at ``time``."""
    safe_name = re.sub(r"[^A-Za-z0-9_.]+", "_", profile_name)
    return f"{time}-{command}-{safe_name}"


def open_run(path: Path) -> RunFolder:
    """An existing run, to read.

    Raises:
        UsageError: ``path`` is no run folder.
    """
    if not (path / MANIFEST).is_file():
        raise UsageError(f"{path} is not a run folder (it has no {MANIFEST})", hint="see `geotrap runs`")
    return RunFolder(path)


def resumable_run(path: Path | None, command: str, root: Path) -> RunFolder:
    """The run to continue: the one at ``path``, or the newest unfinished one of ``command``; enter it with ``with``.

    Raises:
        UsageError: There is none, it is of another command, or it is finished.
    """
    if path is None:
        # One that another process still writes is not there to be taken over.
        ended = {"failed", "interrupted"}
        unfinished = [run for run in list_runs(root) if run.command == command and run.status in ended]
        if not unfinished:
            raise UsageError(f"no unfinished {command} run in {root}", hint=f"start one with `geotrap {command}`")
        return unfinished[0]
    run = open_run(path)
    if run.command != command:
        raise UsageError(f"{path} is a run of `geotrap {run.command}`", hint=f"resume a run of `geotrap {command}`")
    if run.status == "finished":
        raise UsageError(f"{path} is finished", hint=f"start a new run with `geotrap {command}`")
    return run


def latest_run(command: str, root: Path) -> RunFolder:
    """The newest *finished* run of ``command`` under ``root``.

    Raises:
        UsageError: There is none; with the command that makes one.
    """
    runs = [run for run in list_runs(root) if run.command == command]
    for run in runs:
        if run.status == "finished":
            return run
    found = f" ({len(runs)} unfinished)" if runs else ""
    raise UsageError(f"no finished {command} run in {root}{found}", hint=f"run `geotrap {command}` first")


def list_runs(root: Path) -> list[RunFolder]:
    """All runs under ``root``, the newest first; none when the folder does not exist."""
    folders = [RunFolder(file.parent) for file in root.glob(f"*/{MANIFEST}") if not file.parent.name.startswith(".")]
    # A folder that another program made has a manifest of its own kind.
    runs = [run for run in folders if {"command", "created", "status"} <= run.manifest.keys()]
    return sorted(runs, key=lambda run: str(run.manifest["created"]), reverse=True)


def _new_folder(root: Path, name: str) -> Path:
    for number in range(1, 1000):
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise GeotrapError(f"{root} has too many runs named {name}")
