"""De-saturation: fine-tuning through activations, or from a head, that let gradients back in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from geotrap_attacks._soft_activations import softened, straight_through
from geotrap_attacks._surgery import affine_misfit, rescale_output
from geotrap_attacks._sweep import Distinct, chosen, expand, require_some
from geotrap_cli.attacks import Attack, AttackConfig, AttackSetting
from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, NUM_CHANNELS, GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.surface import cell_colours

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext

Mode = Literal["straight_through", "soften", "shift"]
SWEPT = ("modes", "shrinks")
SHIFT_BATCHES = 4


class DesaturateConfig(AttackConfig):
    """Options of the de-saturating attack."""

    modes: Distinct[Mode] = Field(
        default=("straight_through", "soften", "shift"),
        description="straight_through: true activations forward, wider slopes backward; soften: flatter activations, "
        "forward too; shift: true activations. All three raise the opacity bias first. Each is a cell of its own.",
    )
    shrinks: Distinct[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=(0.5, 0.25, 0.1),
        description="Factors by which the head, and so every pre-activation, is shrunk; each is a cell of its own.",
    )
    temperature: float = Field(default=4.0, gt=1, description="T of the modes straight_through and soften.")
    anneal_share: float = Field(
        default=0.5, gt=0, le=1, description="Share of the steps over which those two modes return to true activations."
    )
    least_opacity: float = Field(
        default=0.02,
        gt=1 / 255,
        lt=1,
        description="Opacity to which straight_through first lifts fainter ones.",
    )
    opacity_level: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Median opacity on target objects to which the modes raise the opacity bias; never down.",
    )

    @model_validator(mode="after")
    def _options_act(self) -> DesaturateConfig:
        require_some(self, *SWEPT)
        if not {"straight_through", "soften"} & set(self.modes):
            self.refuse_idle(["temperature", "anneal_share"], "act in modes straight_through and soften only")
        if "straight_through" not in self.modes:
            self.refuse_idle(["least_opacity"], "acts in mode straight_through only")
        if not self.modes:
            self.refuse_idle(["opacity_level"], "acts in modes only")
        return self


class DesaturateAttack(Attack):
    """Undo what makes rendering losses blind, then train every weight; the judge always uses the true activations.

    Modes first add one number to the opacity bias, such that the median opacity on covered cells is at least 0.1; a
    healthy generator is above that and stays as it is.

    ``shift``: nothing more.
    ``straight_through`` (BPDA): LGM's activations forward; backward the clamp is the identity and sigmoid, softplus and
    tanh are T times as wide. Culled Gaussians, which no renderer gives a gradient, are lifted to a faint opacity.
    ``soften``: sigmoid, softplus and tanh of x / T and a leaky clamp, forward and backward. Both fade to the true
    activations over the first half of the steps.
    ``shrink-s`` is no mode: the head's weights and biases, and with them every pre-activation, times s.
    """

    key: ClassVar[str] = "desaturate"
    summary: ClassVar[str] = "activations or a head that let gradients in, full fine-tuning"
    source: ClassVar[str] = "Athalye et al. 2018, obfuscated gradients and BPDA"
    assumes: ClassVar[str] = "the released weights, the activations and target objects"
    Config: ClassVar[type[AttackConfig]] = DesaturateConfig
    config: DesaturateConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each mode and each factor."""
        return expand(self, modes=str, shrinks="shrink-{:g}".format)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Shrink the head or raise its opacity bias; note the length of the attack.

        Raises:
            GeotrapError: Target objects cover no cell, so that there is no opacity to raise.
        """
        option, value = chosen(self, *SWEPT)
        self._fading_steps, self._done = self.config.anneal_share * context.steps, 0
        factors, shifts = torch.ones(NUM_CHANNELS), torch.zeros(NUM_CHANNELS)
        if option == "shrinks":
            rescale_output(model, factors * value, shifts)
        else:
            shifts[CHANNELS["opacities"]] = opacity_shift(model, context, self.config.opacity_level)
            rescale_output(model, factors, shifts)

    def misfit(self, setting: AttackSetting) -> str | None:
        """The head's weights have to act on each raw channel by itself."""
        return affine_misfit(setting)

    def gaussians(self, batch: GaussianBatch) -> GaussianBatch:
        """Gaussians by the activations of the step."""
        option, value = chosen(self, *SWEPT)
        left = max(0.0, 1.0 - self._done / self._fading_steps)
        temperature = 1 + left * (self.config.temperature - 1)
        if (option, value) == ("modes", "straight_through"):
            return straight_through(batch, temperature, left * self.config.least_opacity)
        if (option, value) == ("modes", "soften"):
            return softened(batch, temperature)
        return batch

    def needs_whole_weights(self) -> str | None:
        """None: after a step it counts."""
        return None

    def after_step(self, model: GaussianGenerator, step: int) -> None:
        """Count the steps, for fading."""
        del model
        self._done = step

    def memory(self) -> dict[str, torch.Tensor]:
        """The steps taken."""
        return {"done": torch.tensor(self._done)}

    def recall(self, memory: dict[str, torch.Tensor]) -> None:
        """Go on fading where it ended."""
        self._done = int(memory["done"])


@torch.no_grad()
def opacity_shift(model: GaussianGenerator, context: AttackContext, level: float) -> float:
    """What the opacity logits lack: from their median on cells that target objects cover to ``level``; never negative.

    Raises:
        GeotrapError: They cover none.
    """
    logits = []
    for step in range(SHIFT_BATCHES):
        batch = context.target(step, context.batch_size)
        _, covered = cell_colours(batch, model.splat_size)
        logits.append(model(batch.images)[..., CHANNELS["opacities"]].squeeze(-1)[covered])
    found = torch.cat(logits).double()
    if not len(found):
        raise GeotrapError("attack.desaturate: no target object covers any cell of the grid", "Check its alpha")
    return max(0.0, math.log(level / (1 - level)) - float(found.median()))
