"""The tables of the attacker and of the judge: ``[attack]`` and ``[eval]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from geotrap_cli.profile.attack_data_table import AttackDataTable
from geotrap_cli.profile.base import (
    Count,
    Fraction,
    Names,
    NonNegative,
    PluginTable,
    Positive,
    Seed,
    Table,
    distinct,
    split_names,
)

Control = Literal["scratch", "distill", "noise", "benign"]
Schedule = Literal["constant", "linear", "cosine", "wsd", "one_cycle"]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError(f"expects two ascending values, got {values[0]} and {values[1]}")
    return values


class TuneTable(Table):
    """``[attack.tune]``: where ``geotrap attack --tune N`` searches for the best setting of an attack."""

    trials: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0, description="Settings tried on each set of weights, as --tune sets it; 0: none (trials)."
    )
    lr: Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_ascending)] = Field(
        default=(1e-5, 1e-2), description="Least and largest peak learning rate, searched on a logarithmic scale."
    )
    schedules: Annotated[
        tuple[Schedule, ...], Field(strict=False), BeforeValidator(split_names), AfterValidator(distinct)
    ] = Field(
        default=("constant", "cosine", "one_cycle"), min_length=1, description="Learning-rate schedules to choose from."
    )
    fractions: Annotated[tuple[Share, ...], Field(strict=False), AfterValidator(distinct)] = Field(
        default=(0.25, 0.5, 1.0), min_length=1, description="Lengths to choose from, as shares of attack.steps."
    )


class AttackTable(PluginTable):
    """``[attack]``: budget and data of every attack; ``[attack.KEY]`` holds the settings of one plug-in."""

    steps: Count = Field(default=200, description="Budget of each attack (optimizer steps).")
    batch_size: Count = Field(default=4, description="Objects a step (objects).")
    supervised_views: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Views of each object in the attacker's loss (views)."
    )
    evaluations: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Evenly spaced evaluations along the attack, besides the one before it (evaluations)."
    )
    seed: Seed = Field(default=0, description="Seed of the attacker's batches, the same for both sets of weights.")
    methods: Names = Field(
        default=("lora",), min_length=1, description="Attacks to run: keys of the group geotrap.attacks."
    )
    controls: Annotated[
        tuple[Control, ...], Field(strict=False), BeforeValidator(split_names), AfterValidator(distinct)
    ] = Field(
        default=(),
        description="What each attack is also run on; a suite chooses where none is named: scratch (random weights), "
        "distill (the defense without traps), noise (as far from the undefended weights as the defense), benign (both "
        "weights, on benign objects).",
    )
    control_attacks: Names = Field(
        default=(), description="Attacks beside which the controls are run, by key; none named: beside every attack."
    )
    checkpoint_every: Count = Field(
        default=50, description="Interval of the checkpoints that a killed attack goes on from (optimizer steps)."
    )
    keep_gaussians: Annotated[int, Field(ge=0, le=6)] = Field(
        default=3,
        description="Target objects, and as many source objects, whose Gaussians each cell keeps at its evaluations, "
        "for geotrap view; at most the six whose pictures it keeps; 0: none (objects).",
    )
    data: AttackDataTable | None = Field(
        default=None, description="A data set of the attacker's own; unset: the attack sets of [data]."
    )
    tune: TuneTable = Field(default=TuneTable(), description="The search for the best setting of an attack.")


class EvalTable(Table):
    """``[eval]``: which objects and views are measured, and when a result counts."""

    objects: Count = Field(default=24, description="Largest number of objects measured in each split (objects).")
    views: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="Novel views of each object (views).")
    split: Literal["test", "validation"] = Field(
        default="test",
        description="Objects measured. test: held-out ones, for results. validation: to choose settings by, a fifth of "
        "the attacker's target groups, on which it then does not train, and what data.set_aside keeps of the source.",
    )
    batch_size: Count = Field(default=4, description="Objects in one forward pass (objects).")
    source_tolerance_db: NonNegative = Field(
        default=1.0, description="Mean loss of foreground PSNR on source above which the defense counts as broken (dB)."
    )
    attacker_source_bound_db: NonNegative = Field(
        default=3.0,
        description="Loss of foreground PSNR on source up to which an attacked model still counts as working (dB).",
    )
    recover_threshold: Fraction = Field(
        default=0.9, description="Recovery ratio at which an attack counts as recovered."
    )
    bootstrap: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        default=1000, description="Resamples of a confidence interval (resamples)."
    )
