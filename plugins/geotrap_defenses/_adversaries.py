"""The attackers that methods with an inner loop play through: what a step of the defense draws, and their paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import DefenseConfig
from geotrap_cli.profile.base import Count, Positive, split_names
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.places import attacked
from geotrap_cli.training.robust.simulation import Budget, attack_path
from geotrap_cli.training.robust.streams import Stream, numpy_stream

Kinds = Annotated[tuple[Literal["lora", "full"], ...], Field(min_length=1), BeforeValidator(split_names)]
Optimizers = Annotated[tuple[Literal["adamw", "sgd"], ...], Field(min_length=1), BeforeValidator(split_names)]
#: The batch of one of the attacker's steps, counted from 0.
Draw = Callable[[int], ViewBatch]


class AdversaryConfig(DefenseConfig):
    """Options of the attackers that are played through; every step of the defense draws one."""

    inner_steps: Count = Field(default=4, description="Length of the simulated attack, K (its optimizer steps).")
    kinds: Kinds = Field(
        default=("lora", "full"), description="What it trains: lora (as [attack.lora] is set), full, or either."
    )
    optimizers: Optimizers = Field(default=("adamw",), description="Its optimizers: adamw, sgd, or either.")
    lrs: tuple[Positive, ...] = Field(default=(1e-4, 1e-3), min_length=1, description="Its learning rates.")


def draw_adversary(config: AdversaryConfig, seed: int, step: int) -> tuple[str, Budget]:
    """Return the kind and the budget of the attacker of a step; they depend on (seed, step) alone."""
    rng = numpy_stream(seed, step, Stream.DEFENSE_CHOICE)
    kind = config.kinds[rng.integers(len(config.kinds))]
    optimizer = config.optimizers[rng.integers(len(config.optimizers))]
    return kind, Budget(config.inner_steps, optimizer, config.lrs[rng.integers(len(config.lrs))])


def played_through(
    context: DefenseContext, config: AdversaryConfig, step: int, draw: Draw | None = None
) -> Iterator[dict[str, Tensor]]:
    """Yield after each step of the attacker of ``step`` what it has added to the weights, constant.

    Args:
        context: What the defense works with.
        config: Who may be drawn.
        step: Step of the defense.
        draw: The attacker's batches; target objects of its own unless given.
    """
    kind, budget = draw_adversary(config, context.seed, step)
    first = step * config.inner_steps

    def loss(index: int, deltas: Mapping[str, Tensor]) -> Tensor:
        batch = draw(index) if draw else context.target_draw(first + index, Stream.ATTACKER_TARGETS)
        return context.reconstruction(batch, attacked(context.model, deltas))

    return attack_path(loss, context.adaptation(kind, step), budget, step)
