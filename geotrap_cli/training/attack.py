"""``geotrap attack``: fine-tune released weights as an attacker would, and the undefended ones beside them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED, Cell
from geotrap_cli.evaluation.perceptual import LpipsTerm, available_lpips
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.reports.tables import records_table
from geotrap_cli.runs import RunFolder, latest_run, open_run
from geotrap_cli.training.attack_context import check_attack_data
from geotrap_cli.training.attack_grid import AttackGrid, Site
from geotrap_cli.training.attack_plan import PlannedAttack, plan_attacks
from geotrap_cli.training.attack_subjects import Subjects
from geotrap_cli.training.cell_store import CellStore
from geotrap_cli.training.control_distillation import distilled_weights
from geotrap_cli.training.controls import run_controls
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.defense import MODEL
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.inputs import record_inputs
from geotrap_cli.training.processes import Processes, join_processes
from geotrap_cli.training.shared_run import create_or_resume_shared
from geotrap_cli.training.tuning import refuse_untunable, tune_attacks
from geotrap_cli.training.workbench import Workbench, prepare_views
from geotrap_cli.usage import total_usage

_ENDS = {"undefended": "began", "defended": "ended"}


@dataclass(frozen=True)
class AttackResult:
    """A finished attack run and the cells it measured."""

    run: Path
    train_run: Path
    cells: list[Cell]

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {"run": str(self.run), "train_run": str(self.train_run), "cells": [_line(cell) for cell in self.cells]}

    def render(self, console: Console) -> None:
        """Print foreground PSNR on held-out target objects before and after each attack."""
        title = "Foreground PSNR (dB) on held-out target objects, novel views"
        console.print(records_table(title, [_line(cell) for cell in self.cells]))
        console.print(f"\nrun: {self.run}", soft_wrap=True)
        console.print("next: geotrap compare", highlight=False)


def run_attack(options: CommonOptions, loaded: LoadedProfile, console: Console, *, reuse: bool = True) -> AttackResult:
    """Attack both sets of weights of a train run with the same seeds, batches and budget.

    A cell that is finished is not run again on ``--resume``, nor, with ``reuse``, where any run beside this one has
    measured the very same.

    Raises:
        UsageError: There is no train run to attack, or the profile or data are wrong.
    """
    with join_processes(options.device) as processes:
        return _run(processes, options, loaded, console, reuse)


def _run(
    processes: Processes, options: CommonOptions, loaded: LoadedProfile, console: Console, reuse: bool
) -> AttackResult:
    profile, device = loaded.profile, processes.device
    plan_attacks(profile)  # what is wrong with a plug-in shows before anything is loaded
    check_training(profile.device, processes)
    train_run = _train_run(options)
    if not options.quiet:
        console.print(f"attacking {train_run.path}", highlight=False, soft_wrap=True)
    subjects = Subjects(profile, device, train_run.path / MODEL)
    hashes = {subject: subjects.digest(subject) for subject in SUBJECTS}
    _check_pair(hashes, train_run)
    undefended = subjects.open(UNDEFENDED)
    bench = open_attack_workbench(profile, device, undefended, processes)
    _check_unseen(bench, train_run)
    planned = plan_attacks(profile, len(bench.splits.attack_target))
    for one in planned:
        check_attack_data(bench, one.attack)
    refuse_untunable(planned, profile.attack.tune)
    check_attacks_divisible(processes, profile, planned)
    with create_or_resume_shared(processes, "attack", options, loaded) as run:
        run.record(train_run=str(train_run.path.resolve()))
        record_inputs(run, bench, undefended)
        subjects.distilled = functools.cache(
            lambda: distilled_weights(run, train_run, processes, console, options.quiet)
        )
        prepare_views(bench, _needed(bench, planned), console, options.quiet)
        store = CellStore(run, bench, subjects.digest, str(train_run.path.resolve()), _scorer(profile, device), reuse)
        grid = AttackGrid(store, subjects, Site(bench, subjects), console, options.quiet)
        cells = _run_all(grid, planned)
        methods = {cell.method: cell.key for cell in cells if cell.subject == DEFENDED}
        run.finish(
            {
                "train_run": str(train_run.path.resolve()),
                "methods": list(methods),
                "families": methods,
                "weights": hashes,
                "cost": _cost(cell for cell in cells if f"{cell.method}-{cell.subject}" not in store.reused),
            }
        )
    return AttackResult(run.path, train_run.path, cells)


def _cost(measured: Iterable[Cell]) -> dict[str, Any] | None:
    """Return what the cells that this run measured took together; None where it took all from other runs."""
    total = total_usage(cell.usage for cell in measured if cell.usage is not None)
    return None if total is None else total.payload()


def check_attacks_divisible(processes: Processes, profile: Profile, planned: Sequence[PlannedAttack]) -> None:
    """Check that the processes can share every batch of every attack, and its weights where those are divided.

    Raises:
        UsageError: There are several, and a loss, a batch or the weights cannot be divided.
    """
    if processes.count == 1:
        return
    for one in planned:
        if processes.divides and (reason := one.attack.needs_whole_weights()) is not None:
            what = f"{one.method}: {reason}, so FSDP cannot divide its weights"
            raise UsageError(what, "Launch with --multi_gpu, or leave the attack out")
        if (reason := one.attack.indivisible()) is not None:
            what = f"{one.method}: {reason}, so {processes.count} processes cannot share it"
            raise UsageError(what, "Start it without a launcher, or leave the attack out")
    processes.check_batch("attack.batch_size", profile.attack.batch_size)


def _run_all(grid: AttackGrid, planned: Sequence[PlannedAttack]) -> list[Cell]:
    """Return the cells of all attacks: first the pairs, then what is compared with them."""
    cells = [cell for attack in planned for cell in grid.pair(attack)]
    tuned = tune_attacks(grid, planned)
    cells += [cell for attack in tuned for cell in grid.pair(attack)]
    return cells + run_controls(grid, [*planned, *tuned])


def _scorer(profile: Profile, device: torch.device) -> LpipsTerm | None:
    scorer = available_lpips(profile.loss.lpips_trunk)
    return None if scorer is None else scorer.to(device)


def _needed(bench: Workbench, planned: Sequence[PlannedAttack]) -> list[str]:
    """Return the objects that are sure to be seen: those measured, and those of every phase."""
    table, splits = bench.profile.attack, bench.splits
    ids = [*splits.attack_target, *bench.draw(splits.eval_target), *bench.draw(splits.source_eval)]
    public = {"source": splits.source_train, "benign": splits.benign}
    kinds = {phase.data for one in planned for phase in one.attack.phases(table.steps)}
    for kind in sorted(kinds & public.keys()):
        steps = max(sum(phase.steps for phase in one.attack.phases(table.steps)) for one in planned)
        if public[kind]:
            ids += bench.sampler(public[kind], table.supervised_views, table.seed).drawn(steps, table.batch_size)
    return ids


def _train_run(options: CommonOptions) -> RunFolder:
    """Return the run whose weights are attacked: the resumed attack's, ``--run``, or the newest finished one."""
    if options.resume:
        from geotrap_cli.runs import resumable_run

        return open_run(Path(resumable_run(options.resume_path, "attack", options.runs_root).manifest["train_run"]))
    run = open_run(options.run) if options.run else latest_run("train", options.runs_root)
    if run.command != "train":
        raise UsageError(f"{run.path} is a run of `geotrap {run.command}`", "Name a run of `geotrap train`")
    if run.status != "finished":
        raise UsageError(f"{run.path} is {run.status}", "Finish it with geotrap train --resume")
    return run


def _check_pair(hashes: Mapping[str, str], train_run: RunFolder) -> None:
    """Refuse weights that are not the two ends of the defense: their attacks could not be compared.

    Raises:
        UsageError: The undefended or the defended weights are others than the train run's manifest tells.
    """
    manifest = train_run.manifest
    made = {UNDEFENDED: manifest.get("weights"), DEFENDED: manifest.get("defended")}
    for name, digest in hashes.items():
        if digest != made[name]:
            what = f"the {name} weights are not those with which {train_run.path} {_ENDS[name]}"
            raise UsageError(what, "Bring them back, or train again with geotrap train")


def _check_unseen(bench: Workbench, train_run: RunFolder) -> None:
    """Refuse to attack or judge with objects on which the defense was trained, or variants of them.

    Raises:
        UsageError: A group of the attack's target sets has a defense-target object.
    """
    groups = {record.id: record.group for record in bench.dataset.records}
    defended = {groups.get(id, id) for id in train_run.manifest["splits"]["defense_target"]}
    shared = sorted(id for id in (*bench.splits.attack_target, *bench.splits.eval_target) if groups[id] in defended)
    if shared:
        what = f"{len(shared)} objects of the attack were used by the defense, such as {shared[0]}"
        raise UsageError(what, "Use the same data.seed and data.target in both profiles")


def _line(cell: Cell) -> dict[str, Any]:
    quality = [
        sum(score.metrics["foreground_psnr"] for score in evaluation.target) / len(evaluation.target)
        for evaluation in cell.evaluations
    ]
    return {
        "attack": cell.method,
        "weights": cell.subject,
        "before": quality[0],
        "after": quality[-1],
        "best": max(quality),
        "trained": cell.trainable_parameters,
        "seconds": cell.seconds,
    }
