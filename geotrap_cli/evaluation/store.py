"""Measured cells of all runs in one file, so that none is measured twice and those of several machines can be joined.

``results.jsonl`` lies in the folder of all runs; one line holds one cell with everything it depends on. A line is found
again by a hash over that: weights, attack and its settings, objects, seeds, budget and code. Lines are only appended,
under a lock; a line cut short by a crash is dropped by the next reader. Of two lines with one key the later counts.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell, inconsistency, strict_json

STORE = "results.jsonl"


@dataclass(frozen=True)
class StoredCell:
    """One line of a store.

    Attributes:
        key: `content_key` of ``inputs``.
        inputs: Everything the scores depend on.
        weights: Content hash of the attacked weights.
        undefended: Content hash of the undefended weights of the run, against which clouds are measured.
        run: Folder of the run that measured the cell; it may lie on another machine.
        train_run: Folder of the run that made the defended weights.
        created: When the run began, UTC.
        profile: The resolved profile of the run, TOML.
        profile_name: Its short name.
        cell: The measurements.
        defended: Content hash of the defended weights of the run; empty in old runs.
    """

    key: str
    inputs: Mapping[str, Any]
    weights: str
    undefended: str
    run: str
    train_run: str
    created: str
    profile: str
    profile_name: str
    cell: Cell
    defended: str = ""


def content_key(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever the order of their keys."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ResultsStore:
    """The cells in one file.

    Args:
        path: The file, or the folder of all runs that holds it; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / STORE if path.is_dir() or path.suffix != ".jsonl" else path

    def find(self, key: str) -> StoredCell | None:
        """Return the newest cell with that key, None where there is none.

        Raises:
            UsageError: The file cannot be read, or the line is broken.
        """
        found = None
        for number, line in self._lines():
            # The key is hexadecimal and stands in every line of its own: most lines need not be parsed.
            if key in line:
                row = self._parse(number, line)
                found = row if row.key == key else found
        return found

    def rows(self) -> list[StoredCell]:
        """Return all cells in the order in which they were measured, the last of each key.

        Raises:
            UsageError: The file is missing or broken.
        """
        if not self.path.is_file():
            raise UsageError(f"there is no store {self.path}", hint="name a results.jsonl or a folder of runs")
        return list({row.key: row for row in (self._parse(*line) for line in self._lines())}.values())

    def append(self, row: StoredCell) -> None:
        """Add one cell; it is on disk when this returns."""
        line = json.dumps(strict_json(dataclasses.asdict(row)), allow_nan=False, separators=(",", ":")) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")), self.path.open("ab+") as file:
            _drop_cut_line(file.fileno())
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield the numbered lines, without a last one that was cut short."""
        if not self.path.is_file():
            return
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {self.path}: {error}", hint="move it away to begin a new store") from error
        yield from enumerate((line for line in text.splitlines(keepends=True) if line.endswith("\n")), start=1)

    def _parse(self, number: int, line: str) -> StoredCell:
        try:
            row = _reader().validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._broken(number, f"{where or 'line'}: {first['msg']}") from error
        problem = inconsistency(row.cell)
        if problem:
            raise self._broken(number, problem)
        return row

    def _broken(self, number: int, problem: str) -> UsageError:
        what = f"{self.path}, line {number} is not a stored cell: {problem}"
        return UsageError(what, hint="remove that line; its cell is then measured again")


def merge(stores: Iterable[ResultsStore]) -> list[StoredCell]:
    """Return the cells of several stores, one for each key, by the time at which their runs began.

    Raises:
        UsageError: A file is missing or broken.
    """
    rows = {row.key: row for store in stores for row in store.rows()}
    return sorted(rows.values(), key=lambda row: row.created)


@functools.cache
def _reader() -> TypeAdapter[StoredCell]:
    return TypeAdapter(StoredCell)


def _drop_cut_line(file: int) -> None:
    """Cut the file after its last whole line."""
    size = os.fstat(file).st_size
    content_end = size
    while content_end:
        start = max(0, content_end - 65536)
        newline = os.pread(file, content_end - start, start).rfind(b"\n")
        if newline >= 0:
            content_end = start + newline + 1
            break
        content_end = start
    if content_end < size:
        os.ftruncate(file, content_end)
