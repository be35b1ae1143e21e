"""Merge: what the attacker releases is an average of weights along or beside its own fine-tuning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from geotrap_attacks._public import matching_public
from geotrap_attacks._sweep import Distinct, chosen, expand, require_some
from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.profile.base import FilePath
from geotrap_cli.training.moving_average import MovingAverage

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

OPTION = "attack.merge.public"
SWEPT = ("averages", "alphas")
SOUP_START = 0.5
"""Share of the attack after which checkpoints go into the soup."""
SOUP_SIZE = 8

COOKED = "cooked"
"""Name of the number of checkpoints in the soup, in the memory beside the weights."""

Weights = Mapping[str, Tensor]


class MergeConfig(AttackConfig):
    """Options of the attack by merging."""

    averages: Distinct[Literal["ema", "soup"]] = Field(
        default=("ema", "soup"),
        description="ema: exponential moving average of the weights; soup: mean of 8 checkpoints of the second half. "
        "Each is a cell of its own.",
    )
    decay: float = Field(default=0.98, gt=0, lt=1, description="Decay of the moving average, per step.")
    public: FilePath | None = Field(
        default=None, description="Public weights of the same architecture to merge with; never the undefended ones."
    )
    alphas: Distinct[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=(0.1, 0.25, 0.5), description="Shares of the public weights in the merge; each is a cell of its own."
    )

    @model_validator(mode="after")
    def _options_act(self) -> MergeConfig:
        if self.public is None:
            self.refuse_idle(["alphas"], "act with public weights only")
        require_some(self, "averages", *(["alphas"] if self.public is not None else []))
        if "ema" not in self.averages:
            self.refuse_idle(["decay"], "acts in average ema only")
        return self


class MergeAttack(Attack):
    """Full fine-tuning whose result is an average of weights, in every evaluation after the first step.

    ``ema``: exponential moving average over the trajectory. ``soup``: plain mean of 8 evenly spaced checkpoints of its
    second half (the attacked weights themselves before the first of them). ``public-α``: (1 − α)·θ_attacked +
    α·θ_public, run only where public weights are named.
    """

    key: ClassVar[str] = "merge"
    summary: ClassVar[str] = "full fine-tuning averaged along the way or with public weights"
    source: ClassVar[str] = "WiSE-FT (Wortsman et al. 2022), model soups"
    assumes: ClassVar[str] = "the released weights and target objects; for public-α also public weights"
    budget: ClassVar[str] = "attack.steps; averaging costs nothing"
    Config: ClassVar[type[AttackConfig]] = MergeConfig
    config: MergeConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each average and, with public weights, for each share."""
        alphas = self.config.alphas if self.config.public is not None else ()
        runnable = type(self)(self.config.model_copy(update={"alphas": alphas}))
        return expand(runnable, averages=str, alphas="public-{:g}".format)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Load what is merged with and plan the checkpoints; no weight changes.

        Raises:
            UsageError: The public weights cannot be read or do not fit.
        """
        option, _ = chosen(self, *SWEPT)
        self._partner = matching_public(self.config.public, OPTION, model) if option == "alphas" else None
        first = round(SOUP_START * context.steps)
        self._soup_steps = {first + round((context.steps - first) * i / (SOUP_SIZE - 1)) for i in range(SOUP_SIZE)}
        self._soup: dict[str, Tensor] = {}
        self._cooked = 0

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Every parameter trains; the moving average starts at the released weights."""
        trained = super().prepare(model)
        self._average = MovingAverage(trained, self.config.decay)
        return trained

    @torch.no_grad()
    def after_step(self, model: GaussianGenerator, step: int) -> None:
        """Take the step's weights into the average."""
        _, way = chosen(self, *SWEPT)
        if way == "ema":
            self._average.update(step)
        elif way == "soup" and step in self._soup_steps:
            self._cooked += 1
            for name, parameter in model.named_parameters():
                mean = self._soup.setdefault(name, torch.zeros_like(parameter))
                mean += (parameter - mean) / self._cooked

    def memory(self) -> dict[str, Tensor]:
        """The average so far."""
        _, way = chosen(self, *SWEPT)
        if way == "ema":
            return dict(self._average.shadow)
        return {**self._soup, COOKED: torch.tensor(self._cooked)} if way == "soup" else {}

    def recall(self, memory: dict[str, Tensor]) -> None:
        """Go on averaging where it ended."""
        _, way = chosen(self, *SWEPT)
        device = next(iter(self._average.shadow.values())).device
        known = {name: value.to(device) for name, value in memory.items() if name != COOKED}
        if way == "ema":
            self._average.shadow = known
        elif way == "soup":
            self._soup, self._cooked = known, int(memory[COOKED])

    @contextlib.contextmanager
    def as_released(self, model: GaussianGenerator) -> Iterator[None]:
        """Hold the merged weights for the length of the block."""
        kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        write(model, self.merged(model))
        try:
            yield
        finally:
            write(model, kept)

    def finish(self, model: GaussianGenerator) -> None:
        """Keep the merged weights."""
        write(model, self.merged(model))

    @torch.no_grad()
    def merged(self, model: GaussianGenerator) -> Weights:
        """The weights that would be released by now, by parameter name."""
        option, value = chosen(self, *SWEPT)
        own = {name: parameter.detach() for name, parameter in model.named_parameters()}
        if option == "alphas":
            assert self._partner is not None
            return {name: torch.lerp(weight, self._partner[name], value) for name, weight in own.items()}
        if value == "ema":
            return self._average.shadow
        return self._soup or own


@torch.no_grad()
def write(model: nn.Module, weights: Weights) -> None:
    """Copy ``weights`` into the parameters of their names."""
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
