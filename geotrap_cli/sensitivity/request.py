"""What the user asks of an analysis, as it is kept in the run folder for ``--resume``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLES, PROBES, CAUSAL_STEPS = 16, 4, 40
REACH = {"all": None, "reached": True, "safe": False}
"""What ``--reach`` shows: whether a unit must be reached by the adapter; None: it does not matter."""


@dataclass(frozen=True)
class AnalysisRequest:
    """The options of one analysis.

    Attributes:
        mode: ``trap``, ``attack`` or ``jacobian``.
        traps: Keys of the traps of mode ``trap``; empty: the profile's.
        samples: Samples of each side to begin with.
        target_ci: Relative half-width at which enough samples are drawn; None: ``samples`` are enough.
        probes: Random vectors of mode ``jacobian``.
        sort: Column that orders the units.
        top: Units to show; None: all.
        reach: Which units to show: ``all``, ``reached`` by the profile's LoRA adapter, or ``safe`` from it.
        select: Units to write to layers.toml; None: none.
        lora_safe: Select only units that the adapter does not reach.
        csv: A further place for the CSV file.
        causal: Units to intervene on: ``top:N``, ``all`` or names with commas between them; None: none.
        causal_action: ``freeze``, ``reset`` or ``rollback``.
        causal_steps: Budget of each of those attacks, optimizer steps.
    """

    mode: str = "trap"
    traps: tuple[str, ...] = ()
    samples: int = SAMPLES
    target_ci: float | None = None
    probes: int = PROBES
    sort: str = "geometric_mean"
    top: int | None = None
    reach: str = "all"
    select: int | None = None
    lora_safe: bool = False
    csv: Path | None = None
    causal: str | None = None
    causal_action: str = "freeze"
    causal_steps: int = CAUSAL_STEPS

    def record(self) -> dict[str, Any]:
        """Return the request as a manifest can hold it."""
        return dataclasses.asdict(self) | {
            "traps": list(self.traps),
            "csv": None if self.csv is None else str(self.csv),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> AnalysisRequest:
        """Return the request that :meth:`record` wrote."""
        csv = record["csv"]
        return cls(**{**record, "traps": tuple(record["traps"]), "csv": None if csv is None else Path(csv)})
