"""Run folders: one for each command that computes something, with all that is needed to check or continue it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError

if TYPE_CHECKING:
    from geotrap_cli.options import CommonOptions
    from geotrap_cli.profile.load import LoadedProfile

RUNS_VARIABLE = "GEOTRAP_RUNS"
MANIFEST, PROFILE, METRICS, SUMMARY, LOCK = "manifest.json", "profile.toml", "metrics.jsonl", "summary.json", ".lock"

# A reader that looks whether a run is alive holds its lock for an instant.
_LOCK_PATIENCE_SECONDS = 1.0


@dataclass
class RunFolder:
    """A run on disk. Writing needs the lock, which ``with run:`` takes and gives back.

    Leaving the block sets the status: ``finished``, ``interrupted`` after Ctrl-C, ``failed`` after any other exception.
    """

    path: Path
    _lock: FileLock | None = None
    _metrics: IO[str] | None = None
    _logged: bool = False

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it is on disk."""
        return read_json(self.path / MANIFEST)

    @property
    def command(self) -> str:
        """The command that made the run."""
        return str(self.manifest["command"])

    @property
    def profile_name(self) -> str:
        """The short name of its profile."""
        return str(self.manifest.get("profile", ""))

    @property
    def profile_path(self) -> Path:
        """The resolved profile of the run."""
        return self.path / PROFILE

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed`` or ``interrupted``; a run whose process died is interrupted."""
        stated = str(self.manifest["status"])
        return "interrupted" if stated == "running" and not self._is_locked() else stated

    def __enter__(self) -> RunFolder:
        self._acquire()
        self.record(status="running", error=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        try:
            self._record_end(kind, error)
        finally:
            if self._lock:
                self._lock.release()
                self._lock = None

    def _record_end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is None:
            self.record(status="finished", ended=_now())
        elif issubclass(kind, KeyboardInterrupt):
            self.record(status="interrupted", ended=_now())
            # Whoever reports the interrupt can say what to continue.
            error.run_path = self.path  # type: ignore[union-attr]
        else:
            self.record(status="failed", ended=_now(), error=f"{kind.__name__}: {error}")

    def record(self, **entries: Any) -> None:
        """Set top-level entries of the manifest, atomically."""
        write_json(self.path / MANIFEST, self.manifest | entries)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl and flush it.

        The first line with a ``step`` drops all lines from that step on, and any line cut short by a crash: a resumed
        run computes them again.

        Raises:
            NonFiniteError: A value is NaN or infinite.
        """
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(f"{self.name}: metric {key} is {value} at step {row.get('step', '?')}")
        if not self._logged and "step" in row:
            self._drop_from(row["step"])
            self._logged = True
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        self._metrics.write(json.dumps(dict(row), allow_nan=False) + "\n")
        self._metrics.flush()

    def _drop_from(self, step: int) -> None:
        kept = [row for row in self.metrics() if row.get("step", 0) < step]
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in kept))

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line cut short by a crash is left out."""
        file = self.path / METRICS
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
        for number, line in enumerate(lines, start=1):
            if line.endswith("\n"):
                yield _parse(line, f"{file}, line {number}")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, atomically."""
        write_json(self.path / SUMMARY, dict(summary))

    def summary(self) -> dict[str, Any]:
        """Read summary.json.

        Raises:
            UsageError: The run wrote none.
        """
        return read_json(self.path / SUMMARY)

    def _acquire(self) -> None:
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=_LOCK_PATIENCE_SECONDS)
        except Timeout:
            raise GeotrapError(
                f"another process writes to {self.path}", hint="wait for it to end, or start a new run"
            ) from None
        self._lock = lock

    def _is_locked(self) -> bool:
        if self._lock:
            return True
        try:
            with FileLock(self.path / LOCK, timeout=0):
                return False
        except (Timeout, OSError):
            # A folder that cannot be written to may be someone else's: believe the manifest.
            return True


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
    safe_name = re.sub(r"[^A-Za-z0-9_.]+", "_", profile_name)
    path = _new_folder(root, f"{created:%Y%m%dT%H%M%SZ}-{command}-{safe_name}")
    write_text(path / PROFILE, profile_toml)
    entries = {"command": command, "profile": profile_name, "created": created.isoformat(), "status": "running"}
    write_json(path / MANIFEST, entries | dict(manifest or {}))
    return RunFolder(path)


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
        unfinished = [run for run in list_runs(root) if run.command == command and run.status != "finished"]
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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UsageError: The file is missing, or holds no JSON object.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} holds no JSON object")
    return value


def _new_folder(root: Path, name: str) -> Path:
    for number in range(1, 1000):
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise GeotrapError(f"{root} has too many runs named {name}")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
