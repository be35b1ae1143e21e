"""How far each unit of the generator was moved: by the defense, and by the attack that recovers most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geotrap_cli.cell_weights import find_cell_weights, open_cell_weights
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.training.weights import weights_source

MODEL = "model"
DEFENSE = "defense"


@dataclass(frozen=True)
class LayerChanges:
    """Relative changes ‖θ' - θ‖ / ‖θ‖ of the weights of each unit.

    Attributes:
        attack: Name of the attack.
        units: The units in the order of the network.
        changes: By what moved them: ``defense`` (against the undefended weights), and the attack on ``undefended`` and
            on ``defended`` weights (each against the weights it began from). None where a unit has no counterpart.
        missing: What could not be compared and why, one line each.
    """

    attack: str
    units: list[str] = field(default_factory=list)
    changes: dict[str, list[float | None]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def layer_changes(selection: Selection, pair: AttackPair, label: str) -> LayerChanges:
    """Compare the weights before the defense, after it, and after one attack, as far as they are on this machine."""
    found = LayerChanges(label)
    if not (Path(selection.train_run) / MODEL).is_dir():
        found.missing.append(f"changes by unit: {selection.train_run} with the defended weights is not on this machine")
        return found
    try:
        before = _open_both(selection)
    except GeotrapError as error:
        found.missing.append(f"changes by unit: {error.message}")
        return found
    found.units.extend(before[UNDEFENDED].units())
    found.changes[DEFENSE] = unit_changes(before[UNDEFENDED], _tensors(before[DEFENDED]))
    for subject in SUBJECTS:
        # Taken first: merging an adapter changes the model itself.
        start = {name: value.clone() for name, value in _tensors(before[subject]).items()}
        try:
            folder = find_cell_weights(pair.folder(subject), pair.method, subject)
            attacked = open_cell_weights(folder, before[subject])
        except GeotrapError as error:
            found.missing.append(f"changes of the {subject} weights by {label}: {error.message}")
            continue
        found.changes[subject] = _changes(attacked.units(), start, _tensors(attacked), found.units)
    return found


def unit_changes(start: GaussianGenerator, end: Mapping[str, torch.Tensor]) -> list[float | None]:
    """Return the relative change of each unit of ``start``, in its order."""
    units = start.units()
    return _changes(units, _tensors(start), end, list(units))


def _changes(
    units: Mapping[str, list[str]],
    start: Mapping[str, torch.Tensor],
    end: Mapping[str, torch.Tensor],
    order: list[str],
) -> list[float | None]:
    return [_relative(units.get(unit, []), start, end) for unit in order]


def _relative(names: list[str], start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor]) -> float | None:
    if not names or any(name not in start or name not in end or start[name].shape != end[name].shape for name in names):
        return None
    moved = math.fsum(float((end[name].double() - start[name].double()).square().sum()) for name in names)
    length = math.fsum(float(start[name].double().square().sum()) for name in names)
    return math.sqrt(moved / length) if length > 0 else None


def _tensors(model: GaussianGenerator) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _open_both(selection: Selection) -> dict[str, GaussianGenerator]:
    table = selection.profile.model
    with torch.random.fork_rng(devices=()):
        # Random weights are those of the seed with which every command draws them.
        torch.manual_seed(selection.profile.train.seed)
        undefended = weights_source(selection.profile).load()
    defended = weights_source(selection.profile, str(Path(selection.train_run) / MODEL)).load()
    models = {UNDEFENDED: undefended, DEFENDED: defended}
    for name, model in models.items():
        if table.fuse_head:
            model.fuse_head()
        if weights_hash(model) != selection.weights[name]:
            raise UsageError(f"the {name} weights on this machine are not those that were attacked")
    return models
