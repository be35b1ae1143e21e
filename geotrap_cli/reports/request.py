"""What a user may ask of a comparison beyond the options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompareRequest:
    """What only ``geotrap compare`` asks for.

    Attributes:
        runs: Attack runs; none: the newest finished one.
        stores: Result stores, files or folders of runs, to take the cells from instead.
        csv: Where to put a copy of the table.
        gates: Conditions such as ``worst_recovery<=0.5``.
        require_valid: Whether a verdict other than VALID is a failure.
        details: Whether to print every table; the files have them either way.
    """

    runs: tuple[Path, ...] = ()
    stores: tuple[Path, ...] = ()
    csv: Path | None = None
    gates: tuple[str, ...] = ()
    require_valid: bool = False
    details: bool = False
