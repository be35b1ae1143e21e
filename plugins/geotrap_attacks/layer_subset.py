"""Full fine-tuning of a part of the generator: the part that a defense does not guard may be enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from geotrap_attacks._sweep import Distinct
from geotrap_cli.attacks import Attack, AttackConfig, AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Names

if TYPE_CHECKING:
    from geotrap_cli.models.generator import GaussianGenerator

Subset = Literal["down", "mid", "up", "attention", "norm_bias", "sensitive", "insensitive", "units"]
RANKED = ("sensitive", "insensitive")
PARTS = ("down", "mid", "up")
#: Batches over which gradients are averaged to rank the units.
BATCHES = 4


class LayerSubsetConfig(AttackConfig):
    """Options of the sweep over parts of the generator."""

    subsets: Distinct[Subset] = Field(
        default=("down", "mid", "up", "attention", "norm_bias", "sensitive", "insensitive"),
        min_length=1,
        description="Parts, one cell each; 'units' trains those named in units.",
    )
    share: float = Field(
        default=0.3, gt=0, le=1, description="Share of all parameters in 'sensitive' and in 'insensitive', at most."
    )
    units: Names = Field(default=(), description="Unit names for 'units'.")

    @model_validator(mode="after")
    def _options_act(self) -> LayerSubsetConfig:
        if "units" not in self.subsets:
            self.refuse_idle(["units"], "acts under 'units' only, which subsets does not name")
        elif not self.units:
            raise ValueError("subsets names 'units', and units names none")
        if not set(RANKED) & set(self.subsets):
            self.refuse_idle(["share"], "acts under 'sensitive' and 'insensitive' only, which subsets does not name")
        return self


class SubsetAttack(Attack):
    """AdamW on one part of the generator.

    Args:
        config: Options.
        subset: The part.
    """

    key: ClassVar[str] = "layer_subset"
    config: LayerSubsetConfig

    def __init__(self, config: LayerSubsetConfig, subset: Subset) -> None:
        super().__init__(config)
        self.subset = subset
        self._ranking: list[str] | None = None

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Rank the units by the attacker's own gradients, where the part is a matter of rank; changes no weight."""
        if self.subset in RANKED:
            scores = relative_gradients(model, context)
            self._ranking = sorted(scores, key=lambda unit: scores[unit], reverse=self.subset == "sensitive")

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Freeze all but the part.

        Raises:
            UsageError: There is no such unit, or the part is empty.
        """
        names = self._names(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        trained = {name: parameter for name, parameter in model.named_parameters() if name in names}
        if not trained:
            what = f"attack.{self.key}: the part {self.subset!r} of this generator has no parameters"
            raise UsageError(what, f"Leave it out of attack.{self.key}.subsets, or raise share")
        return trained

    def _names(self, model: GaussianGenerator) -> set[str]:
        names = [name for name, _ in model.named_parameters()]
        places = {name: model.place(model.unit_of(name)) for name in names}
        if self.subset in PARTS:
            return {name for name in names if places[name].part == self.subset}
        if self.subset == "attention":
            return {name for name in names if places[name].attention}
        if self.subset == "norm_bias":
            norms = tuple(f"{name}." for name, part in model.named_modules() if isinstance(part, nn.GroupNorm))
            return {name for name in names if name.startswith(norms) or name.endswith(".bias")}
        members = model.units()
        return {name for unit in self._units(model, members) for name in members[unit]}

    def _units(self, model: GaussianGenerator, members: dict[str, list[str]]) -> list[str]:
        """Return the named units, or those of highest rank whose parameters together stay within the share."""
        if self.subset == "units":
            unknown = sorted(set(self.config.units) - members.keys())
            if unknown:
                raise UsageError(f"attack.{self.key}.units: there is no unit {unknown[0]!r}", f"Some: {_some(members)}")
            return list(self.config.units)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        left, chosen = self.config.share * sum(sizes.values()), []
        # Without a ranking nothing is trained, only counted: any units of that share will do.
        for unit in self._ranking if self._ranking is not None else members:
            size = sum(sizes[name] for name in members[unit])
            if size <= left:
                chosen.append(unit)
                left -= size
        return chosen


def relative_gradients(model: GaussianGenerator, context: AttackContext) -> dict[str, float]:
    """Return ‖∇L‖ / ‖θ‖ of every unit under the attacker's loss (surgical fine-tuning, Lee et al. 2023, RGN)."""
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
        parameter.grad = None
    for step in range(BATCHES):
        batch = context.target(step, context.batch_size)
        terms = context.reconstruction_loss(model.forward_gaussians(batch.images), batch)
        torch.stack(list(terms.values())).sum().backward()
    scores = {unit: _ratio([parameters[name] for name in names]) for unit, names in model.units().items()}
    model.zero_grad(set_to_none=True)
    return scores


def _ratio(parameters: list[nn.Parameter]) -> float:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    size = sum(float(parameter.detach().square().sum()) for parameter in parameters)
    slope = sum(float(gradient.square().sum()) for gradient in gradients)
    return (slope / size) ** 0.5 if size > 0 else 0.0


def _some(members: dict[str, list[str]]) -> str:
    return ", ".join(list(members)[:3])


class LayerSubsetAttack(Attack):
    """Down, middle and up blocks, attention, norms with biases, and the units of largest and smallest gradients."""

    key: ClassVar[str] = "layer_subset"
    summary: ClassVar[str] = "one part of the generator: blocks, attention, norms, by gradient"
    source: ClassVar[str] = "surgical fine-tuning (Lee et al. 2023)"
    budget: ClassVar[str] = "attack.steps for each part"
    Config: ClassVar[type[LayerSubsetConfig]] = LayerSubsetConfig
    config: LayerSubsetConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack a part."""
        return {f"{self.key}-{subset}": SubsetAttack(self.config, subset) for subset in self.config.subsets}
