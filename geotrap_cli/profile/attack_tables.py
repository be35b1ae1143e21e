"""The tables of the attacker and of the judge: ``[attack]`` and ``[eval]``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from geotrap_cli.profile.base import Count, Fraction, Names, NonNegative, Seed, Table


class AttackTable(Table):
    """``[attack]``: budget and data of every attack; ``[attack.KEY]`` holds the settings of one plug-in."""

    model_config = ConfigDict(extra="allow")

    steps: Count = Field(default=240, description="Budget of each attack (optimizer steps).")
    batch_size: Count = Field(default=4, description="Objects a step (objects).")
    supervised_views: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Views of each object in the attacker's loss (views)."
    )
    evaluations: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=6, description="Evenly spaced evaluations along the attack, besides the one before it (evaluations)."
    )
    seed: Seed = Field(default=0, description="Seed of the attacker's batches, the same for both sets of weights.")
    methods: Names = Field(
        default=("lora",), min_length=1, description="Attacks to run: keys of the group geotrap.attacks."
    )

    def options(self, key: str) -> dict[str, Any]:
        """The settings of the attack ``key``: the fields of its own ``Config``; empty when it is not configured."""
        return dict((self.model_extra or {}).get(key, {}))


class EvalTable(Table):
    """``[eval]``: which objects and views are measured, and when a result counts."""

    objects: Count = Field(default=24, description="Largest number of objects measured in each split (objects).")
    views: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="Novel views of each object (views).")
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
