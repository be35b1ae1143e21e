"""Relearning from benign data: no target object is ever trained on."""

from __future__ import annotations

from typing import ClassVar

from geotrap_cli.attacks import Attack, Phase


class BenignOnlyAttack(Attack):
    """Full fine-tuning on objects of a benign category; the judge still measures target objects.

    What comes back without any target data was hidden, not removed.
    """

    key: ClassVar[str] = "benign_only"
    summary: ClassVar[str] = "full fine-tuning on a benign category, no target data"
    source: ClassVar[str] = "Dormant-to-Deleted; ResAlign"
    assumes: ClassVar[str] = "the released weights and objects of a benign category"
    budget: ClassVar[str] = "attack.steps, none of them on target objects"

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """All steps on benign objects."""
        return (Phase("benign", steps, "benign"),)
