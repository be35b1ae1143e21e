"""How few target objects the attacker gets away with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from geotrap_attacks._sweep import Distinct
from geotrap_attacks._wrapped import Method, WrappedAttack, base_attack
from geotrap_cli.attacks import Attack, ScheduleConfig


class DataSizeConfig(ScheduleConfig):
    """Options of the sweep over the number of objects."""

    method: Method = Field(default="full", description="What is trained.")
    lr: float | None = Field(default=None, gt=0, description="Peak learning rate; none: that of the method.")
    sizes: Distinct[PositiveInt] = Field(
        default=(1, 4, 16, 64, 256), description="Numbers of target objects, one cell each (objects)."
    )
    all_objects: bool = Field(default=True, description="Also run with every object the attacker has.")

    @model_validator(mode="after")
    def _something_runs(self) -> DataSizeConfig:
        if not (self.sizes or self.all_objects):
            raise ValueError("sizes is empty and all_objects is off: nothing would run")
        return self


class FewObjects(WrappedAttack):
    """An attack with so many of the target objects.

    Args:
        inner: What is trained.
        count: The number; None stands for all.
    """

    key: ClassVar[str] = "data_size"

    def __init__(self, inner: Attack, count: int | None) -> None:
        super().__init__(inner)
        self.count = count

    def target_objects(self, ids: Sequence[str], seed: int) -> Sequence[str]:
        """Return ``count`` of ``ids``, chosen by the seed: fewer are always among more."""
        chosen = np.random.default_rng(seed).permutation(len(ids))[: self.count]
        return [ids[index] for index in sorted(chosen)]


class DataSizeAttack(Attack):
    """The same budget on 1, 4, 16, 64, 256 and all target objects."""

    key: ClassVar[str] = "data_size"
    summary: ClassVar[str] = "1 to 256 target objects and all of them"
    source: ClassVar[str] = "SOPHON and RepNoise; n-shot attacks of MLAC (Henderson et al. 2023)"
    assumes: ClassVar[str] = "the released weights and as few target objects as each cell says"
    budget: ClassVar[str] = "attack.steps for each number of objects"
    Config: ClassVar[type[DataSizeConfig]] = DataSizeConfig
    config: DataSizeConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack a number of objects."""
        return {name: self._variant(count) for name, count in self._counts(self.config.sizes).items()}

    def available_variants(self, objects: int) -> dict[str, Attack]:
        """Return the variants without those that ask for more than there is, which equal the one with all."""
        sizes = dict.fromkeys(min(size, objects) for size in self.config.sizes)
        if self.config.all_objects:
            sizes.pop(objects, None)
        return {name: self._variant(count) for name, count in self._counts(tuple(sizes)).items()}

    def _counts(self, sizes: tuple[int, ...]) -> dict[str, int | None]:
        counts: dict[str, int | None] = {f"{self.key}-{size}": size for size in sizes}
        return counts | ({f"{self.key}-all": None} if self.config.all_objects else {})

    def _variant(self, count: int | None) -> Attack:
        shared = self.config.model_dump(include={*ScheduleConfig.model_fields, "lr"})
        return FewObjects(base_attack(self.config.method, **shared), count)
