"""Kick the weights out of the trap with a few violent steps, then settle by ordinary fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from geotrap_attacks._surgery import add_relative_noise
from geotrap_attacks._sweep import Distinct, chosen, expand, require_some
from geotrap_cli.attacks import Attack, AttackConfig, AttackSetting, Phase
from geotrap_cli.errors import UsageError
from geotrap_cli.training.schedules import ScheduleFactor

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

SWEPT = ("factors", "displacements")


class KickSettleConfig(AttackConfig):
    """Options of the attack that kicks first."""

    factors: Distinct[Annotated[float, Field(gt=1)]] = Field(
        default=(10.0, 100.0), description="Learning rates of the kick, in peak rates; each is a cell of its own."
    )
    displacements: Distinct[Annotated[float, Field(gt=0)]] = Field(
        default=(0.1,),
        description="Lengths of a kick in a random direction, as shares of each tensor's RMS, without gradient steps; "
        "each is a cell of its own.",
    )
    kick_steps: int = Field(default=10, ge=1, description="Steps of a kick by learning rate, out of the budget.")

    @model_validator(mode="after")
    def _options_act(self) -> KickSettleConfig:
        require_some(self, *SWEPT)
        if not self.factors:
            self.refuse_idle(["kick_steps"], "acts with factors only")
        return self


class KickSettleAttack(Attack):
    """10 steps on target objects at 10 or 100 times the peak rate, or one random displacement; then fine-tuning.

    A defense that was trained against attacks near the released weights may not reach beyond their neighbourhood.
    """

    key: ClassVar[str] = "kick_settle"
    summary: ClassVar[str] = "violent first steps or a random jump, then full fine-tuning"
    source: ClassVar[str] = "one step to the side: leaving the region a defense was trained on"
    budget: ClassVar[str] = "attack.steps, kick included"
    Config: ClassVar[type[AttackConfig]] = KickSettleConfig
    config: KickSettleConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each kick."""
        return expand(self, factors="rate-{:g}".format, displacements="random-{:g}".format)

    def misfit(self, setting: AttackSetting) -> str | None:
        """A kick by learning rate has to leave steps to settle."""
        kick = self._kick_steps()
        return f"kick_steps is {kick} of {setting.steps} steps" if kick >= setting.steps else None

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """A kick by learning rate is a phase of its own.

        Raises:
            UsageError: The kick would take the whole budget.
        """
        kick = self._kick_steps()
        if kick >= steps:
            raise UsageError(f"attack.kick_settle.kick_steps is {kick} of {steps} steps", "Leave steps to settle")
        settle = Phase("settle", steps - kick)
        return (Phase("kick", kick), settle) if kick else (settle,)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Displace the weights at random, where that is the kick."""
        kind, size = chosen(self, *SWEPT)
        if kind == "displacements":
            add_relative_noise(model, size, context.seed)

    def schedule(self, steps: int) -> ScheduleFactor:
        """The kick at its constant rate, then the ordinary schedule over the remaining steps."""
        _, size = chosen(self, *SWEPT)
        kick = self._kick_steps()
        ordinary = super().schedule(steps - kick)
        return lambda step: size if step < kick else ordinary(step - kick)

    def _kick_steps(self) -> int:
        kind, _ = chosen(self, *SWEPT)
        return self.config.kick_steps if kind == "factors" else 0
