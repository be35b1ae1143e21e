"""What a user may ask of an export beyond the options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TURNTABLES = ("gif", "mp4")
FORMATS = (*TURNTABLES, "ply")


@dataclass(frozen=True)
class ExportRequest:
    """What only ``geotrap export`` asks for.

    Attributes:
        attack: The attack whose weights are meant, by the name of its variant; None: weights before any attack.
        model: ``undefended`` or ``defended``.
        object: Id of the object; None: the first target object that attacks are measured on.
        formats: Of ``FORMATS``.
        out: The folder to write to.
        frames: Pictures of a turntable.
        size: Their side, pixels; even.
        elevation: Degrees of its camera above the object's equator.
    """

    attack: str | None = None
    model: str = "defended"
    object: str | None = None
    formats: tuple[str, ...] = ("gif", "ply")
    out: Path = Path("exports")
    frames: int = 36
    size: int = 256
    elevation: float = 20.0

    @property
    def turns(self) -> bool:
        """Whether a turntable is asked for."""
        return any(name in TURNTABLES for name in self.formats)
