"""What the same attacks recover on reference weights: random ones, distilled ones, and ones moved by noise."""

from __future__ import annotations

from dataclasses import dataclass

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.evaluation.cells import DEFENDED, DISTILL, NOISE, REFERENCES, SCRATCH
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.quality import best_quality, nan_last, quality

MEANING = {
    DEFENDED: "the defense",
    SCRATCH: "random weights",
    DISTILL: "the defense without traps",
    NOISE: "noise of the same length",
}


@dataclass(frozen=True)
class ReferenceResult:
    """The attack that recovers most on one set of reference weights.

    Attributes:
        subject: The weights.
        attack: Label of the attack.
        recovery: What it recovers.
        best: Foreground PSNR on target at its best (dB).
        source: Foreground PSNR on source before any attack (dB); None where it was not measured.
        attacks: Number of attacks that were run on these weights.
    """

    subject: str
    attack: str
    recovery: Interval
    best: float
    source: float | None
    attacks: int


def peak_recovery(attack: JudgedAttack, subject: str) -> Interval | None:
    """Return the largest recovery of a subject's weights under an attack; None where it was not run on them."""
    curve = attack.statistics.recovery.get(subject)
    return None if curve is None else max(curve, key=lambda point: nan_last(point.value))


def reference_results(attacks: list[JudgedAttack]) -> list[ReferenceResult]:
    """Return the worst case on the defended weights and on every set of reference weights that was attacked."""
    found = []
    for subject in (DEFENDED, *REFERENCES):
        peaks = [(attack, peak) for attack in attacks if (peak := peak_recovery(attack, subject)) is not None]
        if peaks:
            attack, peak = max(peaks, key=lambda pair: nan_last(pair[1].value))
            best, source = best_quality(attack.pair, subject), quality(attack.pair, subject, "source", 0)
            found.append(ReferenceResult(subject, attack.label, peak, best, source, len(peaks)))
    return found
