"""Heal on public source data first, then train on target data."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from geotrap_attacks._two_phases import two_phases
from geotrap_cli.attacks import Attack, AttackConfig, Phase


class HealFirstConfig(AttackConfig):
    """Options of the attack that heals first."""

    heal_share: float = Field(default=0.4, gt=0, lt=1, description="Share of the steps that go to source objects.")


class HealFirstAttack(Attack):
    """Full fine-tuning on source objects for the first 40 % of the steps, on target objects for the rest.

    Source data pull the weights back to where the generator works, out of the reach of a trap that was trained along
    the direct way from the released weights to the target.
    """

    key: ClassVar[str] = "heal_first"
    summary: ClassVar[str] = "full fine-tuning on source objects, then on target objects"
    source: ClassVar[str] = "TAR's retain-then-forget red team; Dormant-to-Deleted"
    assumes: ClassVar[str] = "the released weights, target objects and public source objects"
    budget: ClassVar[str] = "attack.steps, 40 % of them on source objects"
    Config: ClassVar[type[AttackConfig]] = HealFirstConfig
    config: HealFirstConfig

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """Heal, then attack; each for one step at least.

        Raises:
            UsageError: There is one step only.
        """
        return two_phases(self, "heal", self.config.heal_share, steps, "source")
