"""One run on disk: its manifest, metrics and summary, and the lock of its writer."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from filelock import FileLock, Timeout

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError

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
    _logged: set[str | None] = field(default_factory=set)

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
            return
        # Whoever reports the error can say what to continue.
        error.run_path = self.path  # type: ignore[union-attr]
        # On a full disk the note fails like the run itself, whose own error says more.
        with contextlib.suppress(OSError):
            if issubclass(kind, KeyboardInterrupt):
                self.record(status="interrupted", ended=_now())
            else:
                self.record(status="failed", ended=_now(), error=f"{kind.__name__}: {error}")

    def record(self, **entries: Any) -> None:
        """Set top-level entries of the manifest, atomically."""
        write_json(self.path / MANIFEST, self.manifest | entries)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl and flush it.

        The first line with a ``step`` drops all lines from that step on, and any line cut short by a crash: a resumed
        run computes them again. Lines with a ``cell`` count their steps for themselves.

        Raises:
            NonFiniteError: A value is NaN or infinite.
        """
        for key, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFiniteError(f"{self.name}: metric {key} is {value} at step {row.get('step', '?')}")
        if "step" in row and row.get("cell") not in self._logged:
            self._drop_from(row["step"], row.get("cell"))
            self._logged.add(row.get("cell"))
        if self._metrics is None:
            self._metrics = (self.path / METRICS).open("a", encoding="utf-8")
        self._metrics.write(json.dumps(dict(row), allow_nan=False) + "\n")
        self._metrics.flush()

    def _drop_from(self, step: int, cell: str | None) -> None:
        kept = [row for row in self.metrics() if row.get("cell") != cell or row.get("step", 0) < step]
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
        hint = "restore it, or move the folder it is in away"
        raise UsageError(f"{where} is not JSON: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} holds no JSON object")
    return value


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
