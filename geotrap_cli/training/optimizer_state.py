"""Optimizer state as safetensors plus JSON: nothing is pickled, and the round trip is bit-exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from geotrap_cli.tensor_files import read_tensors, write_tensors

TENSORS = "optimizer.safetensors"
GROUPS = "optimizer.json"


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write the state of ``optimizer`` into ``folder`` (tensors and scalars apart)."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    write_tensors(folder / TENSORS, tensors)
    (folder / GROUPS).write_text(json.dumps({"param_groups": state["param_groups"], "scalars": scalars}))


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Restore what :func:`save_optimizer` wrote into an optimizer over the same parameters."""
    record = json.loads((folder / GROUPS).read_text())
    slots: dict[int, dict[str, Any]] = {}
    for key, value in [*read_tensors(folder / TENSORS).items(), *record["scalars"].items()]:
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": record["param_groups"]})
