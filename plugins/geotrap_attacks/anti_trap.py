"""Fine-tuning with the traps turned round: the attacker knows the method and pulls every attribute out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field

from geotrap_attacks._health_terms import health_levels, shortfalls
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext, LossTerms
    from geotrap_cli.data.views import ViewBatch

REFERENCE_BATCHES = 8


class AntiTrapConfig(AttackConfig):
    """Options of the attack with turned-round traps."""

    weights: Distinct[Annotated[float, Field(gt=0)]] = Field(
        default=(0.01, 0.1, 1.0),
        min_length=1,
        description="Weights of the anti-trap terms beside the rendering loss; each is a cell of its own.",
    )


class AntiTrapAttack(Attack):
    """Rendering loss plus ``weight · Σ max(0, reference - level)`` over seven levels of health, on every weight.

    The levels are spread of positions, their distance to the cube, mean opacity logit, roundness and size of scales,
    diversity of axes and spread of colours; each kind of trap lowers one. Their references are the mean levels of the
    released model on source objects, where a release must still work: a healthy object adds nothing to the loss.
    """

    key: ClassVar[str] = "anti_trap"
    summary: ClassVar[str] = "full fine-tuning with terms that undo each kind of trap"
    source: ClassVar[str] = "Tramèr et al. 2020, adaptive attacks target the defense's own objective"
    assumes: ClassVar[str] = "the released weights, the defense's method, target objects and public source objects"
    Config: ClassVar[type[AttackConfig]] = AntiTrapConfig
    config: AntiTrapConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each weight."""
        return expand(self, weights="{:g}".format)

    @torch.no_grad()
    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Measure the reference levels on source objects; no weight changes."""
        levels: dict[str, list[torch.Tensor]] = {}
        for step in range(REFERENCE_BATCHES):
            batch = model.forward_gaussians(context.source(step, context.batch_size).images)
            for name, level in health_levels(batch).items():
                levels.setdefault(name, []).append(level)
        self._reference = {name: float(torch.cat(values).mean()) for name, values in levels.items()}

    def extra_terms(self, gaussians: GaussianBatch, batch: ViewBatch) -> LossTerms:
        """The weighted shortfalls, as ``anti_<level>``."""
        del batch
        _, weight = chosen(self, "weights")
        terms = shortfalls(gaussians, self._reference)
        return {f"anti_{name}": (weight * term).float() for name, term in terms.items()}
