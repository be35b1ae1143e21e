"""The whole profile, table by table. Every default here is what an empty profile means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from geotrap_cli.profile.attack_data_table import AttackDataTable
from geotrap_cli.profile.attack_tables import AttackTable, EvalTable, TuneTable
from geotrap_cli.profile.base import Table
from geotrap_cli.profile.defense_tables import (
    AggregationTable,
    DefenseTable,
    DynamicTable,
    LayersTable,
    LossTable,
    RetainTable,
    TrapTable,
)
from geotrap_cli.profile.device_table import DeviceTable
from geotrap_cli.profile.model_tables import DataTable, ModelTable
from geotrap_cli.profile.robust_tables import HeadAttackTable, RobustTable, UnrolledTable
from geotrap_cli.profile.training_tables import PretrainTable, TrainTable

__all__ = [
    "AggregationTable",
    "AttackDataTable",
    "AttackTable",
    "DataTable",
    "DefenseTable",
    "DeviceTable",
    "DynamicTable",
    "EvalTable",
    "HeadAttackTable",
    "LayersTable",
    "LossTable",
    "ModelTable",
    "PretrainTable",
    "Profile",
    "RetainTable",
    "RobustTable",
    "TrainTable",
    "TrapTable",
    "TuneTable",
    "UnrolledTable",
    "flatten",
]


class Profile(Table):
    """Everything a command needs to know; one immutable value."""

    model: ModelTable = Field(default=ModelTable(), description="The generator and its weights.")
    data: DataTable = Field(default=DataTable(), description="The objects and the roles of their categories.")
    train: TrainTable = Field(default=TrainTable(), description="The training loop.")
    pretrain: PretrainTable = Field(default=PretrainTable(), description="Pretraining from scratch.")
    defense: DefenseTable = Field(default=DefenseTable(), description="The method of the defense and its budget.")
    traps: dict[str, TrapTable] = Field(
        default_factory=dict, description="The traps, by key of the group geotrap.traps."
    )
    aggregation: AggregationTable = Field(default=AggregationTable(), description="How several traps become one loss.")
    retain: RetainTable = Field(default=RetainTable(), description="Distillation on source objects.")
    layers: LayersTable = Field(default=LayersTable(), description="The units that the defense trains.")
    robust: RobustTable = Field(default=RobustTable(), description="Mechanisms against adaptive attackers.")
    loss: LossTable = Field(default=LossTable(), description="The rendering loss.")
    attack: AttackTable = Field(default=AttackTable(), description="The attacks and their budget.")
    device: DeviceTable = Field(default=DeviceTable(), description="How the arithmetic is carried out.")
    eval: EvalTable = Field(default=EvalTable(), description="What is measured and when it counts.")

    def tables(self) -> dict[str, Any]:
        """The profile as plain TOML-ready tables; unset (None) values are left out, tuples become lists."""
        return self.model_dump(mode="json", exclude_none=True)


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one mapping from dotted key to value, in order: ``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{dotted}."))
        else:
            flat[dotted] = value
    return flat
