"""Gaussians made anew from weights, for attacks that kept none: before the attack and at its end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from geotrap_cli.cell_weights import find_cell_weights, open_cell_weights
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.evaluate import EvaluationSettings, evaluate
from geotrap_cli.evaluation.kept_gaussians import KeptGaussians
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.load import load_profile
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training.attack_subjects import Subjects
from geotrap_cli.training.defense import MODEL
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.workbench import Workbench, open_workbench


@dataclass(frozen=True)
class _Opened:
    """A run's data and weights, on the CPU."""

    bench: Workbench
    subjects: Subjects


def rebuild(run: Path, cell: Cell, ids: Sequence[str]) -> KeptGaussians:
    """Return what the weights of one cell make of the objects ``ids``, from the views they were measured on.

    Raises:
        UsageError: The data set or the weights are not on this machine, or are others than those of the run.
        NonFiniteError: The weights make NaN or infinite Gaussians.
    """
    opened = _open(run)
    start = opened.subjects.open(cell.subject)
    weights = RunFolder(run).summary()["weights"][cell.subject]
    if opened.subjects.digest(cell.subject) != weights:
        what = f"the {cell.subject} weights are not those that {run} attacked"
        raise UsageError(what, hint="bring them back, or attack again with geotrap attack")
    kept = KeptGaussians()
    _add(kept, opened.bench, start, ids, 0)
    if cell.evaluations[-1].step == cell.steps:
        attacked = open_cell_weights(find_cell_weights(run, cell.method, cell.subject), start.cpu())
        _add(kept, opened.bench, attacked.to(opened.bench.device), ids, cell.steps)
    return kept


@functools.lru_cache(maxsize=2)
def _open(run: Path) -> _Opened:
    folder = RunFolder(run)
    profile, device = load_profile(folder.profile_path, env={}, complete=False).profile, pick_device("auto")
    subjects = Subjects(profile, device, Path(folder.summary()["train_run"]) / MODEL)
    return _Opened(open_workbench(profile, device, subjects.open("undefended")), subjects)


def _add(kept: KeptGaussians, bench: Workbench, model: GaussianGenerator, ids: Sequence[str], step: int) -> None:
    sizes = (bench.input_size, bench.output_size, bench.input_views)
    settings = EvaluationSettings.from_profile(bench.profile, *sizes)
    found = evaluate(model, bench.dataset, ids, settings, device=torch.device(bench.device), keep_renders=len(ids))
    for name, renders in found.renders.items():
        kept.add(name, step, renders)
