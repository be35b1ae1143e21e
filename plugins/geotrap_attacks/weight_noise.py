"""Weight noise, then full fine-tuning: a trap that only holds exactly where it was trained is shaken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from geotrap_attacks._surgery import add_relative_noise
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator


class WeightNoiseConfig(AttackConfig):
    """Options of the attack by weight noise."""

    sigmas: Distinct[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=(0.005, 0.01, 0.02),
        min_length=1,
        description="Deviations of the noise, as shares of the RMS of each tensor; each is a cell of its own.",
    )


class WeightNoiseAttack(Attack):
    """Add seeded Gaussian noise of σ times the RMS of each parameter tensor, once, then train every weight.

    Noise is drawn per tensor on the CPU, so that the defended and the undefended weights get the same directions.
    """

    key: ClassVar[str] = "weight_noise"
    summary: ClassVar[str] = "noise of 0.5 to 2 % of each tensor's RMS, then full fine-tuning"
    source: ClassVar[str] = "side-door removal of safety training by random weight changes"
    budget: ClassVar[str] = "attack.steps; the noise costs nothing"
    Config: ClassVar[type[AttackConfig]] = WeightNoiseConfig
    config: WeightNoiseConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each deviation."""
        return expand(self, sigmas="{:g}".format)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Add the noise."""
        _, sigma = chosen(self, "sigmas")
        add_relative_noise(model, sigma, context.seed)
