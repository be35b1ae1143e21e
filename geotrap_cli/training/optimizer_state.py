"""Optimizer state as safetensors plus JSON: nothing is pickled, and the round trip is bit-exact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geotrap_cli.models.divided import is_divided, part_like, whole
from geotrap_cli.tensor_files import read_tensors, write_tensors

TENSORS = "optimizer.safetensors"
GROUPS = "optimizer.json"


def whole_state(optimizer: torch.optim.Optimizer, keep: bool = True) -> dict[str, Any]:
    """Return the state dict of an optimizer with what is divided over processes in one piece, on the CPU.

    Every process has to ask where there is such; one that does not ``keep`` it gets no tensors.
    """
    state = optimizer.state_dict()
    found: dict[int, dict[str, Any]] = {}
    # In one order in all processes: what was loaded comes in any.
    for index, slots in sorted(state["state"].items()):
        found[index] = {}
        for name, value in sorted(slots.items()):
            divided = isinstance(value, torch.Tensor) and is_divided(value)
            piece = whole(value).cpu() if divided else value
            if keep:
                found[index][name] = piece
    return {**state, "state": found}


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write the state of ``optimizer``, of this process alone, into ``folder``."""
    write_state(whole_state(optimizer), folder)


def write_state(state: Mapping[str, Any], folder: Path) -> None:
    """Write what :func:`whole_state` returned into ``folder`` (tensors and scalars apart)."""
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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Any]] = {}
    for key, value in [*read_tensors(folder / TENSORS).items(), *record["scalars"].items()]:
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        # Moments lie where their weights do; a count of steps is every process's own.
        moment = isinstance(value, torch.Tensor) and value.shape == parameter.shape
        slots.setdefault(int(index), {})[name] = part_like(parameter, value) if moment else value
    optimizer.load_state_dict({"state": slots, "param_groups": record["param_groups"]})
