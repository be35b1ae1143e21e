"""What only ``geotrap bench`` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXECUTORS = ("process", "local", "ray")


@dataclass(frozen=True)
class BenchRequest:
    """A grid and how it is worked on.

    Attributes:
        file: The grid.
        executor: ``process``: here, one after the other; ``local``: processes of this machine; ``ray``: a Ray cluster.
        slots: Jobs at a time, where the executor takes a number.
        stores: Stores of other machines whose cells are taken over.
    """

    file: Path
    executor: str = "process"
    slots: int = 1
    stores: tuple[Path, ...] = ()
