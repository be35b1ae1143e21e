"""The table of the mechanisms against adaptive attackers and shortcuts: ``[robust]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from geotrap_cli.profile.base import Count, NonNegative, Positive, Table, split_names


def _one_or_many(value: Any) -> Any:
    """Accept ``1e-3`` for ``[1e-3]``."""
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _table_for_true(value: Any) -> Any:
    """Accept ``true`` for a table whose settings all have their defaults."""
    return {} if value is True else value


Kinds = Annotated[tuple[Literal["lora", "full"], ...], Field(strict=False, min_length=1), BeforeValidator(split_names)]
Optimizers = Annotated[
    tuple[Literal["adamw", "sgd"], ...], Field(strict=False, min_length=1), BeforeValidator(split_names)
]
Losses = Annotated[
    tuple[Literal["rendering", "attributes"], ...], Field(strict=False, min_length=1), BeforeValidator(split_names)
]
Rates = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1), BeforeValidator(_one_or_many)]


class UnrolledTable(Table):
    """``[robust.unrolled]``: the attacks that are simulated; every step of the training draws one."""

    steps: Count = Field(default=4, description="Length of the simulated attack (its optimizer steps).")
    kinds: Kinds = Field(
        default=("lora", "full"), description="What it trains: lora (as [attack.lora] is set), full, or either."
    )
    optimizers: Optimizers = Field(default=("adamw",), description="Its optimizers: adamw, sgd, or either.")
    lrs: Rates = Field(default=(1e-4, 1e-3), description="Its learning rates.")
    losses: Losses = Field(
        default=("rendering",),
        description="What it minimises: rendering (as [loss] is set), attributes (the distance of raw channels to the "
        "undefended generator's), or either.",
    )


class HeadAttackTable(Table):
    """``[robust.head_attack]``: a simulated attack on unet.conv_out and conv alone, by AdamW."""

    steps: Count = Field(default=4, description="Length of the simulated attack (its optimizer steps).")
    lr: Positive = Field(default=1e-3, description="Its learning rate.")


class RobustTable(Table):
    """``[robust]``: everything is off by default; ``false`` turns off what another profile turned on."""

    parameter_noise: Positive | None = Field(
        default=None,
        description="Traps also at weights with noise of this deviation (in RMS of each tensor); unset: off.",
    )
    input_noise: Positive | None = Field(
        default=None,
        description="Traps also on images with noise of this deviation (intensity, black to white is 1); unset: off.",
    )
    awp: Positive | None = Field(
        default=None,
        description="Traps also at weights this far up the traps' gradient (L2 distance over all weights); unset: off.",
    )
    unit_reset: Count | None = Field(
        default=None,
        description="Traps also where one to this many units have fresh random weights (units); unset: off.",
    )
    unrolled: Annotated[UnrolledTable | None, BeforeValidator(_table_for_true)] = Field(
        default=None, description="Traps also after a simulated attack; unset: off, true: on as by default."
    )
    head_attack: Annotated[HeadAttackTable | None, BeforeValidator(_table_for_true)] = Field(
        default=None, description="Traps also after a simulated attack on the head; unset: off, true: on as by default."
    )
    clean_weight: NonNegative = Field(
        default=1.0,
        description="Weight of the traps at the weights and images themselves; each place of the mechanisms has 1.",
    )
    conflict: Literal["orthogonal", "opposed"] | None = Field(
        default=None,
        description="Minimise the cosine of the traps' gradients at the head's input, down to 0 or to -1; unset: off.",
    )
    conflict_weight: Positive = Field(default=1.0, description="Weight of the conflict beside the aggregated traps.")
    energy_cap: Positive | None = Field(
        default=None,
        description="Largest energy of the traps' gradient in a tensor (in mean energies of a tensor); unset: off.",
    )
    pcgrad: bool = Field(
        default=False, description="Take from the traps' gradient what points against the distillation's."
    )

    @property
    def perturbs(self) -> bool:
        """Whether the traps are evaluated at any place but the weights and images themselves."""
        return self.places > 0

    @property
    def places(self) -> int:
        """Number of places beside the weights and images themselves at which the traps are evaluated."""
        places = (self.parameter_noise, self.input_noise, self.awp, self.unit_reset, self.unrolled, self.head_attack)
        return sum(place is not None for place in places)

    @property
    def simulates(self) -> bool:
        """Whether an attack is simulated within each step."""
        return self.unrolled is not None or self.head_attack is not None
